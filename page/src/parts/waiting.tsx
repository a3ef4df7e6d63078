// The countdown while the service is busy and the page waits to ask again.
import { waiting } from "../api/client";
import { say } from "../strings";

export function Waiting() {
  if (!waiting.value) return null;
  return (
    <div class="banner" role="status">
      {waiting.value.sentence} {say.app.retryIn(waiting.value.seconds)}
    </div>
  );
}
