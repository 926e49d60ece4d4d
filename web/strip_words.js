// The sentences of ReCache's strip, from what the server says of a plan and of a run.
import { reason, t } from "./i18n.js";

/** What the server says: a Reason, or words that it can't put into one, such as a host's own message. */
export const sentence = (said) => (typeof said === "string" ? said : reason(said));

/** A speed-up as the artist reads it: "3.3", and whether that is faster, the same or slower. */
function rounded(speedup) {
  const text = speedup.toFixed(1);
  return { text, kind: Number(text) > 1 ? "faster" : Number(text) < 1 ? "slower" : "same" };
}

export function planned({ computed, n, speedup }) {
  if (computed.length === n) return t("strip.plan_all", { n });
  const { text, kind } = rounded(speedup);
  return t(`strip.plan_${kind}`, { k: computed.length, n, speedup: text });
}

/** How long it will take, as far as an earlier run tells: "About 22 s instead of 70 s". */
export function expected({ n, computed, seconds, seconds_uncached: uncached }) {
  if (seconds === null || seconds === undefined) return "";
  const key = computed.length === n ? "strip.expected_all" : "strip.expected";
  return t(key, { seconds: brief(seconds), uncached: brief(uncached) });
}

/** That a run takes longer than the artist wanted; "" where it does not. */
export function beyondReach({ seconds }, wanted) {
  if (!wanted || !(seconds > wanted.seconds * 1.001)) return "";
  return t("strip.beyond_reach", { wanted: brief(wanted.seconds), seconds: brief(seconds) });
}

/** Seconds, with a decimal where they are few. */
const brief = (seconds) => seconds.toFixed(seconds >= 10 ? 0 : 1);

export function measured({ speedup, saved, finished }) {
  const words = [];
  if (speedup !== null) {
    const { text, kind } = rounded(speedup);
    words.push(t(`strip.measured_${kind}`, { speedup: text, seconds: brief(Math.max(0, saved)) }));
  }
  if (!finished) words.push(t("strip.stopped"));
  return words.join(" ");
}

export function policy({ kind, name, carried, tested }) {
  if (kind !== "file") return t(`strip.policy_${kind}`);
  const said = [t(carried ? "strip.policy_carried" : "strip.policy_file", { name })];
  if (tested) {
    const percent = Math.round(100 * tested.less);
    said.push(t(`strip.tested_${percent > 0 ? "less" : "equal"}_${tested.than}`, { ...tested, percent }));
  }
  return said.join(" ");
}

/** Ascending numbers as an artist writes them: "0-3, 6, 10". */
export function asList(numbers) {
  const ranges = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last?.at(-1) === number - 1) last.push(number);
    else ranges.push([number]);
  }
  return ranges.map((range) => (range.length > 2 ? `${range[0]}-${range.at(-1)}` : range.join(", "))).join(", ");
}
