// How other programs reach this very service: blocks to copy, with its own address.
import { addressOf } from "../../api/client";
import { CopyBlock } from "../../parts/copy";
import { collectionName } from "../../state/collections";
import { needsKey } from "../../state/session";
import { say } from "../../strings";

export function Connect() {
  const root = addressOf("").href.replace(/\/$/, "");
  const secret = needsKey.value ? "$VISION_API_KEY" : "EMPTY";
  const bearer = needsKey.value ? ' -H "Authorization: Bearer $VISION_API_KEY"' : "";
  const name = collectionName.value;
  const blocks: [string, string][] = [
    [say.settings.curl, `curl${bearer} -F image=@picture.jpg -F collection=${name} ${root}/v1/classify`],
    [say.settings.openai, `export OPENAI_BASE_URL=${root}/v1\nexport OPENAI_API_KEY=${secret}\n# models: collection/${name} names pictures; GET ${root}/v1/models lists the others`],
    [say.settings.sdk, `from llamafarm_vision import Vision\n\nvision = Vision("${root}"${needsKey.value ? ", api_key=..." : ""})\nprint(vision.classify("picture.jpg", collection="${name}").label)`],
    [say.settings.llamafarm, `models:\n  - name: vision\n    provider: openai\n    base_url: ${root}/v1\n    api_key: ${secret}\n    model: collection/${name}`],
  ];
  return (
    <section class="card stack wide">
      <h2>{say.settings.connect}</h2>
      <p class="soft">{say.settings.connectLead}</p>
      <div class="connect">{blocks.map(([title, text]) => <CopyBlock key={title} title={title} text={text} />)}</div>
    </section>
  );
}
