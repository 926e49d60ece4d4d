// Builds a workflow in ComfyUI's page: nodes and links from the API's format, then places, groups and notes.
// Returns what the page would save.
async ({ name, prompt, keys, groups, titles, notes, models, colors }) => {
  const GAP = 70, BETWEEN = 90, TITLE = 30, EDGE = 20, WIDTH = 320;
  const NOTE = 380;
  const ROOM = { // for what the page can't foresee: long texts, pictures that a run brings
    CLIPTextEncode: [360, 180], SaveImage: [380, 440], SaveVideo: [380, 400], LoadImage: [320, 380],
    ReCacheReport: [360, 400], ReCacheTrain: [420, 820], ReCacheFrontier: [420, 820],
    ReCacheCompare: [560, 560],
  };

  await app.loadApiJson(prompt, name);
  const graph = app.graph;
  const next = () => Math.max(...graph.nodes.map((node) => node.id)) + 1;
  const byKey = {};
  for (const node of graph.nodes) {
    const key = keys[node.id - 1]; // the prompt's nodes are numbered from 1
    byKey[key] = node;
    node.title = titles[key] ?? LiteGraph.registered_node_types[node.type].title;
  }

  for (const [key, text] of Object.entries(notes)) {
    const note = LiteGraph.createNode("MarkdownNote");
    note.id = next();
    note.title = key === "models" ? "Model files" : "ReCache";
    note.widgets[0].value = text;
    graph.add(note);
    byKey[key] = note;
    const length = (line) => line.replace(/\]\([^)]*\)/g, "]").length;
    const lines = text.split("\n").map((line) => (line ? Math.ceil(length(line) / 56) : 0.7));
    note.size = [NOTE, 50 + 18 * lines.reduce((sum, count) => sum + count, 0)];
  }

  let x = 0;
  for (const [title, members] of groups) {
    const column = members.map((key) => byKey[key]);
    let width = WIDTH, y = 0;
    for (const node of column) {
      if (node.type === "MarkdownNote") node.size = [NOTE, node.size[1]];
      else {
        const least = node.computeSize(), room = ROOM[node.type] ?? least;
        node.size = [Math.max(least[0], room[0]), Math.max(least[1], room[1])];
      }
      width = Math.max(width, node.size[0]);
    }
    for (const node of column) {
      node.pos = [x, y];
      node.size = [width, node.size[1]];
      y += node.size[1] + GAP;
    }
    const group = new LiteGraph.LGraphGroup(title);
    group.color = /^(ReCache|Train|Compare|Frontier)/.test(title) ? "#8A8" : "#3f789e";
    graph.add(group);
    group.pos = [x - EDGE, -TITLE - 60];
    group.size = [width + 2 * EDGE, y - GAP + TITLE + 60 + EDGE];
    x += width + BETWEEN;
  }

  for (const node of graph.nodes) {
    const named = (node.widgets ?? []).map((widget) => models[widget.value]).filter(Boolean);
    if (named.length) node.properties.models = named;
    // By which a page that lacks a node finds its pack; the Manager, which writes this otherwise, is not here.
    const module = node.constructor.nodeData?.python_module;
    if (module) node.properties.cnr_id = module.startsWith("custom_nodes.") ? "recache" : "comfy-core";
    const color = colors[node.type] ?? colors[node.title];
    if (color) [node.color, node.bgcolor] = color;
  }
  return JSON.stringify(graph.serialize());
};
