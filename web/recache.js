// A button on the training nodes: end the training now and go on with the best policy so far.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { ready, t } from "./i18n.js";

const TRAINING_NODES = ["ReCacheTrain", "ReCacheTrainCustom"];

app.registerExtension({
  name: "recache.training",
  init: () => ready,
  nodeCreated(node) {
    if (!TRAINING_NODES.includes(node.comfyClass)) return;
    const stop = () => api.fetchApi("/recache/stop", { method: "POST" });
    const button = node.addWidget("button", t("train.stop"), null, stop);
    button.serialize = false; // it has no value to save or to send
  },
});
