"""The addresses of attachments on the page; how they are passed on is tried in test_server.py."""

from __future__ import annotations

from bot.demo.page.attachments import move_addresses


def test_attachments_move_to_the_page_and_nothing_else_does() -> None:
    """An address of the same Discord that is no attachment stays, and so does an attachment of another one."""
    here, there, page = "http://127.0.0.1:5000", "http://127.0.0.1:50001", "http://localhost:80"
    text = f"{here}/attachments/1/2/a.mp4 {here}/api/v10 {there}/attachments/1/2/a.mp4"
    moved = move_addresses(text, here, page)
    assert moved == f"{page}/attachments/1/2/a.mp4 {here}/api/v10 {there}/attachments/1/2/a.mp4"
