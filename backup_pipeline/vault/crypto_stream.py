"""`age` without the program: stdin to stdout through the library, in a process of its own.

The library holds the interpreter's lock for as long as it works. Where the program is missing, this takes its place,
with the same arguments, exit codes and words on stderr. It is run by its path and imports nothing of
ours: a process that starts in 30 ms and not in 300. See `crypto`.
"""

import sys
from pathlib import Path

import pyrage


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["-d"]:
            lines = [line.strip() for line in Path(arguments[2]).read_text().splitlines()]
            identities = [
                pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")
            ]
            pyrage.decrypt_io(sys.stdin.buffer, sys.stdout.buffer, identities)
        else:
            recipients = [pyrage.x25519.Recipient.from_str(one) for one in arguments if one != "-r"]
            pyrage.encrypt_io(sys.stdin.buffer, sys.stdout.buffer, recipients)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return 141
    except (pyrage.DecryptError, pyrage.EncryptError, pyrage.IdentityError, pyrage.RecipientError) as error:
        print(f"age: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
