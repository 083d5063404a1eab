// The live panel: what the server is doing, from /metrics once a second while the page is seen.
import {metrics} from "/page/api.js";

const kSeconds = 120;

export function startPanel() {
  const show = (id, text) => { document.getElementById(id).textContent = text; };
  const curve = document.querySelector("#live-curve polyline");
  const speeds = [];
  let last = null;

  async function look() {
    if (document.hidden) return;
    let now;
    try {
      now = {...await metrics(), at: performance.now()};
    } catch {
      for (const id of ["live-running", "live-waiting", "live-cache", "live-speed", "live-acceptance"]) show(id, "-");
      last = null;
      return;
    }
    show("live-running", now["vllm:num_requests_running"]);
    show("live-waiting", now["vllm:num_requests_waiting"]);
    show("live-cache", `${(100 * now["vllm:kv_cache_usage_perc"]).toFixed(0)}%`);
    const drafted = now["vllm:spec_decode_num_draft_tokens_total"], accepted = now["vllm:spec_decode_num_accepted_tokens_total"];
    show("live-acceptance", drafted > 0 ? `${(100 * accepted / drafted).toFixed(0)}%` : "no guesses");
    if (last) {
      const speed = 1000 * (now["vllm:generation_tokens_total"] - last["vllm:generation_tokens_total"]) / (now.at - last.at);
      show("live-speed", speed.toFixed(speed < 10 ? 1 : 0));
      speeds.push(speed);
      if (speeds.length > kSeconds) speeds.shift();
      const most = Math.max(...speeds, 1);
      curve.setAttribute("points", speeds.map((s, i) => `${kSeconds - speeds.length + i},${(31 - 30 * s / most).toFixed(1)}`).join(" "));
    }
    last = now;
  }
  look();
  setInterval(look, 1000);
}
