// Policies that travel with workflows. A node that names a policy keeps where it comes from and, if the artist wants it,
// the policy itself in its properties; a workflow that is opened where the policy is missing gives it to the server.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { nodeAt } from "./graph.js";
import { ready, t } from "./i18n.js";

const ROUTE = "/recache/policy";
const POLICY = "recache_policy"; // property: {file, from, data if embedded}, as nodes/library/embed.py gives it
const EMBED = "recache_embed"; // property: whether the artist wants the policy in the workflow
const NO_FILE = ["auto", "uniform", "list"];
const MOST = 8; // policies that one workflow may bring
const MOST_DATA = 350_000; // characters of each, which is what the server embeds at most

let brought = 0; // policies, by the workflow that is being opened
const told = new Set(); // sentences that the artist has been told

const pickerOf = (node) =>
  node.comfyClass?.startsWith("ReCache") ? node.widgets?.find(({ name, type }) => name === "policy" && type === "combo") : null;
const allNodes = () => [app.rootGraph, ...app.rootGraph.subgraphs.values()].flatMap(({ nodes }) => nodes);
const namesFile = (name) => typeof name === "string" && !NO_FILE.includes(name);

function tell(severity, detail) {
  if (told.has(detail)) return; // every undo opens the workflow anew
  told.add(detail);
  app.extensionManager.toast.add({ severity, summary: "ReCache", detail, life: 10_000 });
}

async function asked(route, options) {
  try {
    return await (await api.fetchApi(route, options)).json();
  } catch {
    return { error: null }; // the server is away; the page says so itself
  }
}

/** Keeps in the node's properties what a workflow says of the policy that is picked. */
async function note(node) {
  const picker = pickerOf(node);
  const name = picker.value;
  if (!namesFile(name)) {
    delete node.properties[POLICY];
    return;
  }
  list(picker, name);
  const found = await asked(`${ROUTE}?file=${encodeURIComponent(name)}`);
  if (picker.value !== name) return;
  if (found.error) tell("warn", t("policy.missing_unknown", { name })); // a workflow of the API's form
  if (found.error !== undefined) return;
  const { from, data } = found;
  node.properties[POLICY] = node.properties[EMBED] && data ? { file: name, from, data } : { file: name, from };
  if (node.properties[EMBED] && !data) tell("warn", t("policy.too_big", { name }));
}

async function embed(node, wanted) {
  if (wanted) node.properties[EMBED] = true;
  else delete node.properties[EMBED];
  await note(node);
  const { file, data } = node.properties[POLICY] ?? {};
  if (!wanted) return;
  told.clear(); // what the artist has just asked for is said again
  if (data) tell("success", t("policy.embedded", { name: file, bytes: Math.floor((3 * data.length) / 4) }));
  else if (!file) tell("info", t("policy.unnamed"));
}

/** Lists a name that the server's list lacks, so that the picker shows it and the page calls nothing broken. */
function list(picker, name) {
  const { values } = picker.options;
  if (Array.isArray(values) && !values.includes(name)) picker.options.values = [...values, name];
}

/** A node has got its values from a workflow: is the policy there that it names? */
async function arrive(node) {
  const picker = pickerOf(node);
  const name = picker.value;
  if (!namesFile(name)) return;
  const known = !Array.isArray(picker.options.values) || picker.options.values.includes(name);
  const { file, from, data } = node.properties[POLICY] ?? {};
  list(picker, name);
  if (file === name && typeof data === "string") await bring(node, name, data);
  else if (!known) await miss(picker, name, file === name ? from : "");
}

async function bring(node, name, data) {
  if (brought >= MOST) {
    tell("warn", t("policy.too_many", { count: MOST }));
    return;
  }
  brought += 1;
  if (data.length > MOST_DATA) {
    tell("warn", t("policy.too_big", { name }));
    return;
  }
  const body = JSON.stringify({ file: name, data });
  const kept = await asked(ROUTE, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  if (kept.error) tell("warn", kept.error);
  if (!kept.file) return;
  const picker = pickerOf(node);
  if (kept.file !== name && picker.value === name) {
    list(picker, kept.file);
    picker.value = kept.file;
    node.properties[POLICY] = { ...node.properties[POLICY], file: kept.file };
    node.graph?.setDirtyCanvas(true, true);
    tell("info", t("policy.renamed", { name, file: kept.file }));
  } else if (kept.new) {
    tell("success", t("policy.kept", { name }));
  }
}

async function miss(picker, name, from) {
  const found = await asked(`${ROUTE}?file=${encodeURIComponent(name)}`);
  if (found.error) tell("warn", from ? t("policy.missing", { name, from }) : t("policy.missing_unknown", { name }));
}

app.registerExtension({
  name: "recache.sharing",

  init: () => ready,

  setup() {
    api.addEventListener("executed", ({ detail }) => {
      if (nodeAt(detail.node)?.comfyClass === "ReCacheSavePolicy") renew();
    });
  },

  beforeConfigureGraph() {
    brought = 0;
  },

  nodeCreated(node) {
    const picker = pickerOf(node);
    if (!picker) return;
    const { callback } = picker;
    picker.callback = function (...values) {
      const result = callback?.apply(this, values);
      note(node);
      return result;
    };
    const { onConfigure } = node;
    node.onConfigure = function (...saved) {
      const result = onConfigure?.apply(this, saved);
      arrive(node);
      return result;
    };
  },

  getNodeMenuItems(node) {
    if (!pickerOf(node)) return [];
    const wanted = !node.properties[EMBED];
    return [{ content: t(wanted ? "policy.embed" : "policy.forget"), callback: () => embed(node, wanted) }];
  },

  refreshComboInNodes() {
    // the lists are new: what is missing stays in them, and what is embedded is the newest
    for (const node of allNodes()) {
      const picker = pickerOf(node);
      if (picker && namesFile(picker.value)) list(picker, picker.value);
    }
    renew();
  },
});

/** Embeds what the files hold now. */
function renew() {
  for (const node of allNodes()) if (pickerOf(node) && node.properties[EMBED]) note(node);
}
