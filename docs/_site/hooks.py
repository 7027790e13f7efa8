"""What the site has beyond the files of docs/."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
#: a link from docs/ to a file or folder beside docs/
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")
#: a link whose text is the name of the file
BARE = re.compile(r"\[(\w+\.md)\]\((?=\1[)#])")
LANGUAGES = {".py": "python", ".yaml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file or folder outside of docs/ that a page links to."""
    texts = [file.content_string for file in files.documentation_pages()]
    for target in sorted({target for text in texts for target in OUTSIDE.findall(text)}):
        files.append(
            File.generated(
                config,
                f"{target}.md",
                content=_text_of(target),
                inclusion=InclusionLevel.NOT_IN_NAV,
            )
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let such links lead to these pages, and links show titles, not names of files."""

    def title(link: re.Match[str]) -> str:
        target = files.get_file_from_path(link[1])
        return link[0] if target is None else f"[{target.page.title}]("

    return BARE.sub(title, OUTSIDE.sub(r"](\1.md", markdown))


def _text_of(target: str) -> str:
    """The page of a file, or of all files of a folder one below the other."""
    path = ROOT / target
    if path.is_dir():
        parts = [f"## {file.name}\n\n{_block(file)}" for file in sorted(path.iterdir())]
        return "\n\n".join([f"# {target}", *parts])
    return f"---\nsearch: {{exclude: true}}\n---\n# {target}\n\n{_block(path)}"


def _block(path: Path) -> str:
    text = path.read_text(encoding="utf-8").rstrip()
    return f"````{LANGUAGES.get(path.suffix, '')}\n{text}\n````"
