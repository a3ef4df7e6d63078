import { CollectionPicker } from "../parts/collection-picker";
import { ShowCall } from "../parts/show-call";
import { say } from "../strings";

export function Settings() {
  return (
    <>
      <header class="screen-head">
        <h1>{say.settings.title}</h1>
        <CollectionPicker />
        <ShowCall />
      </header>
    </>
  );
}
