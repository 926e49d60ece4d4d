// What a run takes, in words; a button where a time can be asked for, which opens a field for the seconds.
import { html } from "./dom.js";
import { t } from "./i18n.js";

export class TimeLine {
  /** @param onSeconds gets the seconds that the artist typed, above 0. */
  constructor(parent, onSeconds) {
    this.button = html("button", parent, "result");
    this.button.type = "button";
    this.label = html("label", parent, "seconds");
    this.field = html("input");
    this.field.type = "number";
    this.field.min = 0;
    this.field.step = "any";
    this.onSeconds = onSeconds;
    this.open(false);
    this.button.addEventListener("click", () => this.open(true));
    this.field.addEventListener("blur", () => this.open(false));
    this.field.addEventListener("keydown", (event) => this.onKey(event));
  }

  show(words, asks) {
    this.button.textContent = words;
    this.button.disabled = !asks;
    this.button.title = asks ? t("strip.finish_title") : "";
    if (!asks) this.open(false);
  }

  open(opened) {
    this.button.style.display = opened ? "none" : "";
    this.label.style.display = opened ? "" : "none";
    if (!opened) return;
    const [before, after] = t("strip.finish_in", { seconds: "\n" }).split("\n");
    this.label.replaceChildren(before, this.field, after);
    this.field.value = "";
    this.field.focus();
  }

  onKey(event) {
    event.stopPropagation(); // the page has shortcuts
    if (!["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault(); // else the key presses the button, too
    const seconds = this.field.valueAsNumber;
    this.open(false);
    this.button.focus();
    if (event.key === "Enter" && seconds > 0) this.onSeconds(seconds);
  }
}
