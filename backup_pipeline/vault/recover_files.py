"""The part of RECOVER.md that brings file trees back: contents by digest out of the packs, then names by the listing.

The listing is canonical JSON with its keys in a fixed order, one line an entry, so bash alone reads it; nothing else on a
bare machine does. It is slow (some hundred files a second), and it needs no program of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from backup_pipeline.model.manifest import FileImage, FileTree, Manifest, ObjectRef
from backup_pipeline.vault.quoting import fenced, shown

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault

#: Tree → its big files that are kept as blocks.
Images = Mapping[str, Sequence[FileImage]]
#: The command that writes the contents of objects, and those that put an image together in a file.
Unpack = Callable[[Sequence[ObjectRef]], str]
Assemble = Callable[[FileImage, str], str]

#: What the commands need besides.
NEEDS = "`tar`, `cp`, `ln`, `mkdir`, `chmod`, `touch`, "

_READER = r"""text() {
  local t=${1//'\\'/'\x5c'}
  t=${t//'\"'/'\x22'}
  t=${t//'\udc'/'\x'}
  printf -v "$2" %b "$t"
}
string='(([^"\]|\\.)*)'
entry() {
  local ns=0 seconds rest=${1##*\"path\":}
  kind=file mode= sha= target=
  [[ $1 =~ \"path\":\"$string\" ]] && text "${BASH_REMATCH[1]}" path
  [[ $1 =~ \"type\":\"([a-z]+)\" ]] && kind=${BASH_REMATCH[1]}
  [[ $1 =~ \"mode\":([0-9]+) ]] && printf -v mode %o "${BASH_REMATCH[1]}"
  [[ $1 =~ \"mtime_ns\":(-?[0-9]+) ]] && ns=${BASH_REMATCH[1]}
  [[ $rest =~ \"sha256\":\"([0-9a-f]+)\" ]] && sha=${BASH_REMATCH[1]}
  [[ $1 =~ \"target\":\"$string\" ]] && text "${BASH_REMATCH[1]}" target
  printf -v at @%d.%09d $((ns / 1000000000)) $((ns > 0 ? ns % 1000000000 : 0))
  case "/$path/" in (*//*|*/./*|*/../*) echo "refused: $path"; return 1;; esac
}
finish() {
  touch -d "$at" -- "$1" && { [ -z "$mode" ] || chmod "$mode" -- "$1"; }
}
make() {
  local to="$2/$path"
  mkdir -p -- "${to%/*}"
  case $kind in
    (folder) mkdir -p -- "$to";;
    (link) ln -s -- "$target" "$to" && touch -h -d "$at" -- "$to";;
    (hardlink) ln -- "$2/$target" "$to";;
    (file)
      if [ "$sha" = e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 ]
      then : > "$to"
      else cp --sparse=always -- "$1/$sha" "$to"
      fi && finish "$to";;
  esac
}
tree() {
  while IFS= read -r line; do
    entry "$line" && make "$1" "$2" || return
  done < "$1/listing"
  while IFS= read -r line; do
    case $line in (*'"type":"folder"'*) entry "$line" && finish "$2/$path" || return;; esac
  done < "$1/listing"
}"""


def images_of(vault: Vault, manifest: Manifest) -> Images:
    """Only listings name them, and most trees have none."""
    return {
        tree.name: tuple(
            {entry.sha256: entry.image for entry in vault.listing(tree) if entry.image is not None}.values()
        )
        for tree in manifest.files
        if tree.blocks
    }


def variable() -> str:
    """A line of the first block, that a person edits."""
    return "FILES=/path/to/a/new/folder"


def files_steps(
    trees: Sequence[FileTree], images: Images, number: int, unpack: Unpack, assemble: Assemble
) -> Iterator[str]:
    """From step `number` on. `${FILES:?}`: without a folder, no file must end in the root folder."""
    yield f"## {number}. Files"
    yield (
        "Each tree is made in a folder of its own below `$FILES`. First all contents are unpacked, named by their"
        " SHA-256, into `$FILES.contents` (this takes as much space as the files), then each gets its name. Names,"
        " modes, times and links are as they were; owners are not changed."
    )
    yield fenced("bash", _READER)
    for tree in trees:
        yield f"`{shown(tree.name)}`: {tree.files} files, {tree.bytes} bytes, read from `{shown(tree.address)}`"
        folder = f'"${{FILES:?}}.contents/{tree.name}"'
        lines = [
            f'mkdir -p {folder} "${{FILES:?}}/{tree.name}"',
            f"{unpack([tree.listing])} > {folder}/listing",
        ]
        lines += [_pack(pack, folder, unpack) for pack in tree.packs]
        lines += [assemble(image, f"{folder}/{image.sha256}") for image in images.get(tree.name, ())]
        yield fenced("bash", "\n".join(lines))
        if tree.packs or tree.blocks:
            yield "No output means that every content is the one of its name:"
            check = 'for f in *; do [ "$f" = listing ] || echo "$f  $f"; done | sha256sum --quiet -c'
            yield fenced("bash", f"(cd {folder} && {check})")
        yield "Now the names:"
        yield fenced("bash", f'tree {folder} "${{FILES:?}}/{tree.name}"')
    yield "When you have looked at them, the unpacked contents can go:"
    yield fenced("bash", 'chmod -R u+w "${FILES:?}.contents" && rm -r "${FILES:?}.contents"')


def _pack(pack: ObjectRef, folder: str, unpack: Unpack) -> str:
    if ".blob" in pack.suffix:
        return f"{unpack([pack])} > {folder}/{pack.plain_sha256}"
    return f"{unpack([pack])} | tar -x -C {folder}"
