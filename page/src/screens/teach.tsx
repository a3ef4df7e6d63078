import { CollectionPicker } from "../parts/collection-picker";
import { ShowCall } from "../parts/show-call";
import { say } from "../strings";

export function Teach() {
  return (
    <>
      <header class="screen-head">
        <h1>{say.teach.title}</h1>
        <CollectionPicker />
        <ShowCall />
      </header>
    </>
  );
}
