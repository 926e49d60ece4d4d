// The words that the pack's page code shows, in the language that ComfyUI is set to. They lie with all other
// translations, in locales/<language>/main.json under "recache", and come by ComfyUI's own route.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

let translations = {};

/** Resolves when `t` has words; `await` it in an extension's `init`. */
export const ready = api
  .fetchApi("/i18n")
  .then((response) => response.json())
  .then((all) => (translations = all), () => {}); // without a server there is nothing to say anyway

/** The sentence `key`, such as "train.stop", with the `{name}`s in it replaced by `values`; English where untranslated. */
export function t(key, values = {}) {
  const locale = app.extensionManager?.setting.get("Comfy.Locale");
  const found = [locale, "en"]
    .map((language) => key.split(".").reduce((words, part) => words?.[part], translations[language]?.recache))
    .find((words) => typeof words === "string");
  return (found ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
