// Live previews of the runs that ReCache Frontier and Train make, for as long as the node runs. The page's own previews would
// stay on it, in place of the picture that it makes in the end.
import { api } from "../../scripts/api.js";
import { html, mountWidget, trackNode } from "./dom.js";
import { nodeAt, workflowId } from "./graph.js";

const HEIGHT = 240; // pixels, in the room of the picture that comes later

const previews = new Map(); // node -> the element of its preview, of all nodes that are in a graph

/** Shows a picture, given as an address; without one it takes no room. */
function show(node, picture = "") {
  const element = previews.get(node);
  const [image] = element.children;
  if (image.hidden && !picture) return;
  image.src = picture;
  image.hidden = !picture;
  element.style.minHeight = `${picture ? HEIGHT : 0}px`;
  node.setDirtyCanvas(true, true);
}

/** Gives a node a place for previews, below its other widgets. */
export function addPreview(node) {
  const element = html("div", null, "recache recache-preview");
  const image = html("img", element);
  image.alt = ""; // what the node does is said above it
  image.hidden = true;
  mountWidget(node, "preview", element, 0);
  trackNode(previews, node, element);
}

api.addEventListener("recache.preview", ({ detail }) => {
  const node = detail.workflow === workflowId() && nodeAt(detail.node);
  if (previews.has(node)) show(node, detail.picture);
});

/** Ends the previews of all nodes but one. */
function hideAll(running = null) {
  for (const node of previews.keys()) if (node !== running) show(node);
}

// The next node begins, or the queue's entry is over, however it ended.
api.addEventListener("executing", ({ detail }) => hideAll(detail && nodeAt(detail)));
api.addEventListener("reconnected", () => hideAll()); // the server may have ended in the middle of a run
