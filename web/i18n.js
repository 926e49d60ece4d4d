// The words of the pack's page code in the language that ComfyUI is set to. They are part of
// locales/<language>/main.json, under "recache", and come by ComfyUI's own route.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

let translations = {};

/** Resolves when `t` has words; `await` it in an extension's `init`. */
export const ready = api
  .fetchApi("/i18n")
  .then((response) => response.json())
  .then((all) => (translations = all), () => {}); // without a server there is nothing to say anyway

/** The language that ComfyUI is set to, such as "en". */
export const language = () => app.extensionManager?.setting.get("Comfy.Locale") ?? "";

/** The sentence `key`, such as "train.stop", with its `{name}`s replaced by `values`; English where untranslated. */
export function t(key, values = {}) {
  const found = [language(), "en"]
    .map((language) => key.split(".").reduce((words, part) => words?.[part], translations[language]?.recache))
    .find((words) => typeof words === "string");
  return (found ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** A Reason of the server ({code, fields}, as caching/reasons.py lists them) as a sentence; its fields may be Reasons. */
export function reason({ code, fields = {} }) {
  const worded = ([name, value]) => {
    if (value?.code) return [name, reason(value)];
    if (Array.isArray(value)) return [name, value.map(reason).join(", ")];
    return [name, name === "index" ? value + 1 : value]; // artists count evaluations from 1
  };
  return t(`reasons.${code}`, Object.fromEntries(Object.entries(fields).map(worded)));
}
