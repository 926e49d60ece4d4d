// Questions to the server that change faster than it answers, such as while a slider is dragged.
import { api } from "../../scripts/api.js";

const SPACING = 30; // milliseconds from one question to the next

/** Asks the latest question only: one request at a time, none twice, and `answered` gets every answer in order. */
export class Asker {
  constructor(route, answered) {
    this.route = route;
    this.answered = answered;
    this.asked = null; // the last question that was sent or waits
    this.waiting = null;
    this.busy = false;
  }

  ask(question) {
    const body = JSON.stringify(question);
    if (body === this.asked) return;
    this.asked = this.waiting = body;
    if (!this.busy) this.send();
  }

  /** Ask again, though the question is the same: what the answer depends on has changed. */
  again() {
    this.asked = null;
  }

  async send() {
    this.busy = true;
    while (this.waiting !== null) {
      const body = this.waiting;
      this.waiting = null;
      const spaced = new Promise((done) => setTimeout(done, SPACING));
      this.answered(await this.post(body));
      await spaced;
    }
    this.busy = false;
  }

  async post(body) {
    try {
      const response = await api.fetchApi(this.route, {
        method: "POST", body, headers: { "Content-Type": "application/json" },
      });
      return response.ok ? await response.json() : null;
    } catch {
      return null; // the server is away; the page says so itself
    }
  }
}
