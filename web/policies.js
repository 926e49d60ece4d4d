// Policies on the page: the nodes' lists, and policies that travel in workflows. A node that names a policy keeps in its
// properties where it comes from and, if the artist wants it, the file itself; the page offers it to the server where a
// workflow is opened.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { invalidatePlans } from "./budget.js";
import { ready, t } from "./i18n.js";

const ROUTE = "/recache/policy";
const POLICY = "recache_policy"; // property: {file, from, data if embedded}, as nodes/library/embed.py gives it
const EMBED = "recache_embed"; // property: whether the artist wants the policy in the workflow
const NO_FILE = ["auto", "uniform", "list"];
const MAX_POLICIES = 8; // of one workflow
const MAX_DATA = 350_000; // characters of each, which is what the server embeds at most

const offered = new Set(); // policies of the workflow that is being opened
const shownToasts = new Set(); // their keys
let lastSave = null; // id of the last save that was shown

const pickerOf = (node) =>
  node.comfyClass?.startsWith("ReCache") ? node.widgets?.find(({ name, type }) => name === "policy" && type === "combo") : null;
const allNodes = () => [app.rootGraph, ...app.rootGraph.subgraphs.values()].flatMap(({ nodes }) => nodes);
const namesFile = (name) => typeof name === "string" && !NO_FILE.includes(name);

/** Shows a sentence once: every undo opens the workflow anew. */
function showToast(severity, detail) {
  if (shownToasts.has(detail)) return;
  shownToasts.add(detail);
  app.extensionManager.toast.add({ severity, summary: "ReCache", detail, life: 10_000 });
}

async function fetchJson(route, options) {
  try {
    return await (await api.fetchApi(route, options)).json();
  } catch {
    return { error: null }; // no server; the page itself says so
  }
}

const fetchPolicy = (name) => fetchJson(`${ROUTE}?file=${encodeURIComponent(name)}`);

/** Writes into the node's properties what a saved workflow says of the policy that is picked. */
async function updateProperties(node) {
  const picker = pickerOf(node);
  const name = picker.value;
  if (!namesFile(name)) {
    delete node.properties[POLICY];
    return;
  }
  addChoice(picker, name);
  const { error, from, data } = await fetchPolicy(name);
  if (picker.value !== name) return;
  if (error) showToast("warn", t("policy.missing_unknown", { name })); // a workflow of the API's form
  if (error !== undefined) return;
  node.properties[POLICY] = node.properties[EMBED] && data ? { file: name, from, data } : { file: name, from };
  if (node.properties[EMBED] && !data) showToast("warn", t("policy.too_big", { name }));
}

/** The artist has chosen whether the policy is embedded. */
async function setEmbedded(node, wanted) {
  if (wanted) node.properties[EMBED] = true;
  else delete node.properties[EMBED];
  await updateProperties(node);
  const { file, data } = node.properties[POLICY] ?? {};
  if (!wanted) return;
  shownToasts.clear(); // an answer to the artist is shown again
  if (data) showToast("success", t("policy.embedded", { name: file, bytes: Math.floor((3 * data.length) / 4) }));
  else if (!file) showToast("info", t("policy.unnamed"));
}

/** Embeds what the files hold now. */
function updateEmbedded() {
  for (const node of allNodes()) if (pickerOf(node) && node.properties[EMBED]) updateProperties(node);
}

/** Adds a name that the server's list lacks, so that the picker shows it and the page calls nothing broken. */
function addChoice(picker, name) {
  const { values } = picker.options;
  if (Array.isArray(values) && !values.includes(name)) picker.options.values = [...values, name];
}

/** Installs or misses the policy that a node names which has just got its values from a workflow. */
async function checkPolicy(node) {
  const picker = pickerOf(node);
  const name = picker.value;
  if (!namesFile(name)) return;
  const known = !Array.isArray(picker.options.values) || picker.options.values.includes(name);
  const { file, from, data } = node.properties[POLICY] ?? {};
  addChoice(picker, name);
  if (file === name && typeof data === "string") await install(node, name, data);
  else if (!known) await warnIfMissing(name, file === name ? from : "");
}

async function install(node, name, data) {
  const policy = `${name}\n${data}`;
  if (!offered.has(policy) && offered.size >= MAX_POLICIES) {
    showToast("warn", t("policy.too_many", { count: MAX_POLICIES }));
    return;
  }
  offered.add(policy);
  if (data.length > MAX_DATA) {
    showToast("warn", t("policy.too_big", { name }));
    return;
  }
  const body = JSON.stringify({ file: name, data });
  const kept = await fetchJson(ROUTE, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  if (kept.error) showToast("warn", kept.error);
  if (!kept.file) return;
  if (kept.new) invalidatePlans();
  if (kept.instead_of) showToast("info", t("policy.instead", { file: kept.file, before: kept.instead_of }));
  const picker = pickerOf(node);
  if (kept.file !== name && picker.value === name) {
    addChoice(picker, kept.file);
    picker.value = kept.file;
    node.properties[POLICY] = { ...node.properties[POLICY], file: kept.file };
    node.graph?.setDirtyCanvas(true, true);
    showToast("info", t("policy.renamed", { name, file: kept.file }));
  } else if (kept.new) {
    showToast("success", t("policy.kept", { name }));
  }
}

async function warnIfMissing(name, from) {
  const { error } = await fetchPolicy(name);
  if (error) showToast("warn", from ? t("policy.missing", { name, from }) : t("policy.missing_unknown", { name }));
}

/**
 * ReCache Save Policy has run: says so, and every node lists the file. A cached result has the id of before.
 * `replaced`: a file of this name had something else in it. `instead_of`: the policy in whose place "auto" takes this one
 * from now on, if there is one.
 */
async function onSaved({ file, replaced, instead_of: before, id }) {
  if (id === lastSave) return;
  lastSave = id;
  const said = [t(replaced ? "policy.replaced" : "policy.saved", { file })];
  if (before) said.push(t("policy.instead", { file, before }));
  app.extensionManager.toast.add({ severity: "success", summary: "ReCache", detail: said.join(" "), life: 10_000 });
  try {
    await app.reloadNodeDefs(); // what R does, without its own toasts
  } catch {
    // no server; the page itself says so
  }
}

app.registerExtension({
  name: "recache.policies",

  init: () => ready,

  setup() {
    api.addEventListener("executed", ({ detail }) => {
      const [saved] = detail.output?.recache_saved ?? [];
      if (saved) onSaved(saved);
    });
  },

  beforeConfigureGraph() {
    offered.clear();
  },

  nodeCreated(node) {
    const picker = pickerOf(node);
    if (!picker) return;
    const { callback } = picker;
    picker.callback = function (...values) {
      const result = callback?.apply(this, values);
      updateProperties(node);
      return result;
    };
    const { onConfigure } = node;
    node.onConfigure = function (...saved) {
      const result = onConfigure?.apply(this, saved);
      checkPolicy(node);
      return result;
    };
  },

  getNodeMenuItems(node) {
    if (!pickerOf(node)) return [];
    const wanted = !node.properties[EMBED];
    return [{ content: t(wanted ? "policy.embed" : "policy.unembed"), callback: () => setEmbedded(node, wanted) }];
  },

  refreshComboInNodes() {
    // the lists are new: what is missing stays in them, and what is embedded is the newest
    for (const node of allNodes()) {
      const picker = pickerOf(node);
      if (picker && namesFile(picker.value)) addChoice(picker, picker.value);
    }
    updateEmbedded();
  },
});
