"""Write the pages and figures anew: ``python -m tests.pages``."""

from tests.pages.figures import DRAWINGS, FIGURES
from tests.pages.pages import PAGES, REFERENCE, SCHEMAS

if __name__ == "__main__":
    for name, page in PAGES.items():
        (REFERENCE / f"{name}.md").write_text(page(), encoding="utf-8")
    for name, schema in SCHEMAS.items():
        (REFERENCE / f"{name}.schema.json").write_text(schema(), encoding="utf-8")
    for name, figure in FIGURES.items():
        (DRAWINGS / name).write_text(figure(), encoding="utf-8")
