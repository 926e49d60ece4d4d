// Requests that change faster than the server answers, such as while a slider is dragged.
import { api } from "../../scripts/api.js";

const SPACING = 30; // milliseconds between two requests
const RETRY = 2000; // milliseconds after which what a server did not answer may be posted again

/**
 * Posts the latest body only: one request at a time, no body twice in a row unless it was not answered; `onAnswer` gets the
 * answers in order, null for none.
 */
export class LatestRequest {
  constructor(route, onAnswer) {
    this.route = route;
    this.onAnswer = onAnswer;
    this.last = null; // the body that was sent last or waits
    this.waiting = null;
    this.sending = false;
    this.invalidated = 0; // times
  }

  post(value) {
    const body = JSON.stringify(value);
    if (body === this.last) return;
    this.last = this.waiting = body;
    if (!this.sending) this.sendAll();
  }

  /** What answers depend on has changed: one under way is dropped, and the next `post` goes even if its body is the same. */
  invalidate() {
    this.last = null;
    this.invalidated += 1;
  }

  async sendAll() {
    this.sending = true;
    try {
      while (this.waiting !== null) {
        const [body, { invalidated }] = [this.waiting, this];
        this.waiting = null;
        const spacing = new Promise((done) => setTimeout(done, SPACING));
        const answer = await this.send(body);
        if (answer === null) setTimeout(() => this.last === body && this.invalidate(), RETRY);
        if (invalidated === this.invalidated) this.onAnswer(answer);
        await spacing;
      }
    } finally {
      this.sending = false;
    }
  }

  async send(body) {
    try {
      const response = await api.fetchApi(this.route, {
        method: "POST", body, headers: { "Content-Type": "application/json" },
      });
      return response.ok ? await response.json() : null;
    } catch {
      return null; // no server; the page itself says so
    }
  }
}
