"""The page that a guest's link leads to; it holds no secret and is the same for everybody."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

HERE = Path(__file__).parent
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'"
HEADERS = {"Content-Security-Policy": POLICY}
router = APIRouter(include_in_schema=False)


@router.get("/guest")
def guest_page() -> FileResponse:
    """The page; what stands behind # in its address stays in the browser."""
    return FileResponse(HERE / "page.html", media_type="text/html", headers=HEADERS)


@router.get("/guest.js")
def guest_script() -> FileResponse:
    """What the page does."""
    return FileResponse(HERE / "page.js", media_type="text/javascript", headers=HEADERS)
