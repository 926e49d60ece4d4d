// Whether prompts, ControlNets or context windows change in the middle of a run: a plan does not know it before the run.
import { sourceOf, valueOf } from "./graph.js";

const FOLLOWED = ["CONDITIONING", "GUIDER", "MODEL"];
const WHOLE_RUN = { start: 0, start_percent: 0, end: 1, end_percent: 1 };
const STILL_WINDOWS = ["standard_static", "batched"];

/** Whether a node before the sampler at this place says so by its widgets. */
export function changesMidRun(place, visited = new Set()) {
  if (visited.has(place.node)) return false;
  visited.add(place.node);
  const sources = (place.node.inputs ?? []).map(({ type }, slot) => FOLLOWED.includes(type) && sourceOf(place, slot));
  return sources.some((source) => source?.node && (changes(source) || changesMidRun(source, visited)));
}

function changes(place) {
  const windows = valueOf(place, "context_schedule");
  if (windows !== undefined && !STILL_WINDOWS.includes(windows)) return true;
  const conditions = place.node.outputs?.some(({ type }) => type === "CONDITIONING");
  const ends = Object.entries(WHOLE_RUN).filter(([name]) => typeof valueOf(place, name) === "number");
  return conditions && ends.some(([name, whole]) => valueOf(place, name) !== whole);
}
