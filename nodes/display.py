"""What a node shows on the page."""

from __future__ import annotations

from server import PromptServer

from ..caching import Report


def show_text(node_id: str | None, text: str) -> None:
    """Show `text` on the node `node_id`; nothing where no page is served."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def show_report(node_id: str | None, report: Report) -> None:
    """Show what a run did on the node that set it up."""
    show_text(node_id, "\n".join([report.summary, *report.remarks]))
