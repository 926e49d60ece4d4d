// Builds a workflow in ComfyUI's page: nodes and links from the API's format, then columns, notes and, where `promoted`
// names inputs, one subgraph that has them. Returns what the page would save.
async ({ name, prompt, keys, columns, outside, promoted, titles, notes, models, colors }) => {
  const GAP = 70, BETWEEN = 110, TITLE = 30, WIDTH = 320;
  const NOTE = 420, SUBGRAPH = 460, TEXT = 150; // room for a text that is written in the subgraph's node
  const TALLER = 1.45; // of nodes with widgets in Nodes 2.0
  const ROOM = { // for what the page can't foresee: long texts, pictures that a run brings
    CLIPTextEncode: [400, 220], SaveImage: [440, 480], SaveVideo: [440, 440], LoadImage: [340, 420], LoadVideo: [340, 420],
    ReCacheReport: [460, 440], ReCacheTrain: [500, 1150], ReCacheFrontier: [640, 1450],
    ReCacheCompare: [640, 640],
  };

  await app.loadApiJson(prompt, name);
  const graph = app.graph, byKey = {};
  const next = () => Math.max(...graph.nodes.map((node) => node.id)) + 1;
  for (const node of graph.nodes) {
    const key = keys[node.id - 1]; // the prompt's nodes are numbered from 1
    byKey[key] = node;
    node.title = titles[key] ?? LiteGraph.registered_node_types[node.type].title;
    const named = (node.widgets ?? []).map((widget) => models[widget.value]).filter(Boolean);
    if (named.length) node.properties.models = named;
    // By which a page that lacks a node finds its pack; the Manager, which writes this otherwise, is not here.
    node.properties.cnr_id = node.constructor.nodeData.python_module.startsWith("custom_nodes.") ? "recache" : "comfy-core";
    const color = colors[node.type] ?? colors[node.title];
    if (color) [node.color, node.bgcolor] = color;
  }

  function place(columns) {
    let x = 0;
    for (const column of columns) {
      let width = 0, y = 0;
      for (const node of column) {
        const least = node.computeSize(), room = ROOM[node.type] ?? [WIDTH, 0];
        const wanted = node.reserved ?? [Math.max(least[0], room[0]), Math.max(TALLER * least[1], room[1])];
        node.size = wanted;
        width = Math.max(width, wanted[0]);
      }
      for (const node of column) {
        node.pos = [x, y];
        node.size = [node.reserved ? node.size[0] : width, node.size[1]];
        y += node.size[1] + TITLE + GAP;
      }
      x += width + BETWEEN;
    }
  }

  const isNote = (key) => key in notes;
  for (const [key, text] of Object.entries(notes)) {
    const note = byKey[key] = LiteGraph.createNode("MarkdownNote");
    note.id = next();
    note.title = key === "models" ? "Model files" : "ReCache";
    note.widgets[0].value = text;
    [note.color, note.bgcolor] = colors.MarkdownNote;
    graph.add(note);
    const length = (line) => line.replace(/\]\([^)]*\)/g, "]").length;
    const lines = text.split("\n").map((line) => (line ? Math.ceil(length(line) / 52) : 0.8));
    note.reserved = [NOTE, 70 + 20 * lines.reduce((sum, count) => sum + count, 0)];
  }

  let shown = columns;
  if (promoted.length) {
    const inner = columns.map((column) => column.filter((key) => !isNote(key) && !outside.includes(key)));
    place(inner.filter((column) => column.length).map((column) => column.map((key) => byKey[key])));
    const ids = Object.fromEntries(inner.flat().map((key) => [key, byKey[key].id]));
    const { subgraph, node } = graph.convertToSubgraph(new Set(inner.flat().map((key) => byKey[key])));
    node.title = subgraph.name = name;
    // What the page promotes by itself has names like text_1.
    for (const input of [...subgraph.inputs].filter((_, i) => node.inputs[i].link == null)) subgraph.removeInput(input);
    for (const input of subgraph.inputs) if (input.name === "input") subgraph.renameInput(input, "image");
    const right = Math.max(...subgraph.nodes.map(({ pos, size }) => pos[0] + size[0]));
    subgraph.inputNode.pos = [-BETWEEN - 200, 0];
    subgraph.outputNode.pos = [right + BETWEEN, 0];
    let texts = 0;
    for (const [label, widgets] of promoted) {
      const targets = widgets.map(([key, widget]) => {
        const target = subgraph.getNodeById(ids[key]);
        return [target, target.inputs.find((input) => input.widget?.name === widget)];
      });
      const input = subgraph.addInput(label, targets[0][1].type);
      const value = targets[0][0].widgets.find((widget) => widget.name === widgets[0][1]).value;
      for (const [target, slot] of targets) input.connect(slot, target);
      node.widgets.find((widget) => widget.name === label).value = value;
      texts += targets[0][0].type === "CLIPTextEncode";
    }
    const least = node.computeSize();
    node.reserved = [SUBGRAPH, Math.max(TALLER * least[1], least[1] + TEXT * texts)];
    byKey.subgraph = node;
    const inputs = outside.filter((key) => byKey[key].outputs.some((output) => output.links?.length));
    shown = [["note", "models"], inputs, ["subgraph"], outside.filter((key) => !inputs.includes(key))];
  }
  place(shown.filter((column) => column.length).map((column) => column.map((key) => byKey[key])));
  return JSON.stringify(graph.serialize());
};
