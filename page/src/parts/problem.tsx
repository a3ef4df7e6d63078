// A failure where it happened: the service's sentence, what to do next, and the request's id to copy.
import { Problem } from "../api/problems";
import { say } from "../strings";
import { Copy } from "./copy";
import { Icon } from "./icon";

export function ProblemNote({ error, onRetry, compact }: { error: unknown; onRetry?: () => void; compact?: boolean }) {
  const problem = error instanceof Problem ? error : null;
  const sentence = problem ? problem.sentence : String(error);
  return (
    <div class={`problem${compact ? " compact" : ""}`} role="alert">
      <Icon name="warning" />
      <div>
        <p>{sentence}</p>
        {!compact && problem?.next && <p class="soft">{problem.next}</p>}
        {(onRetry || problem?.requestId) && (
          <p class="row">
            {onRetry && <button type="button" onClick={onRetry}>{say.app.again}</button>}
            {problem?.requestId && <Copy text={problem.requestId} label={`${say.app.requestId} ${problem.requestId.slice(0, 8)}`} />}
          </p>
        )}
      </div>
    </div>
  );
}
