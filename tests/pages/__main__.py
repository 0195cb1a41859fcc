"""Write the pages anew: ``python -m tests.pages``."""

from tests.pages.rooms import ROOT, rooms_page

if __name__ == "__main__":
    (ROOT / "docs" / "reference" / "rooms.md").write_text(rooms_page(), encoding="utf-8")
