import { CollectionPicker } from "../../parts/collection-picker";
import { ShowCall } from "../../parts/show-call";
import { say } from "../../strings";

export function Try() {
  return (
    <>
      <header class="screen-head">
        <h1>{say.try.title}</h1>
        <CollectionPicker />
        <ShowCall />
      </header>
    </>
  );
}
