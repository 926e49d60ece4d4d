// Where nodes are in the open workflow, and what the server calls them.
import { app } from "../../scripts/app.js";

const root = () => app.rootGraph ?? app.graph;

/** The workflow's id, as the server gets it with the prompt. */
export const workflowId = () => String(root()?.id ?? "");

/** The node that the server calls `id`, such as "12:3". */
export function nodeAt(id) {
  const ids = String(id).split(":");
  const last = ids.pop();
  const graph = ids.reduce((inside, outer) => inside?.getNodeById(outer)?.subgraph, root());
  return graph?.getNodeById(last) ?? graph?.getNodeById(Number(last)) ?? null;
}
