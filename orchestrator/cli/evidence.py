"""`drctl evidence`: seal runs, verify bundles, make keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import Settings, echo_json, output_option
from orchestrator.cli.runfolder import run_folder
from orchestrator.errors import Tampered

if TYPE_CHECKING:
    from orchestrator.model.evidence import Verification

KEY = click.Path(path_type=Path, dir_okay=False)


@click.group()
def evidence() -> None:
    """Seal a run's evidence, and verify a bundle without trusting this machine.

    \b
    Examples:
      drctl evidence verify last                          has anyone changed the evidence?
      drctl evidence verify /mnt/usb/bundle --key ed25519.pub.pem
    """


@evidence.command()
@click.argument("bundle", metavar="BUNDLE|RUN")
@click.option(
    "--key", "public", type=KEY, default=None, metavar="PUBLIC.pem", help="The public key that must have signed."
)
@output_option
@click.pass_obj
def verify(settings: Settings, bundle: str, public: Path | None, output: str) -> int:
    """Name each file changed, removed or added; check signature, sums, journal chain and binding.

    BUNDLE is a bundle's folder; RUN a run's folder, its id, or `last`. Only the bundle itself is read.

    \b
    Examples:
      drctl evidence verify last
      drctl evidence verify .drctl/runs/RUN/bundle --key ed25519.pub.pem
    \b
    Exit codes: 0 it holds, 4 this is no bundle, 9 tampered with, unsigned, or not signed by --key.
    """
    from orchestrator.evidence.verifier import find_bundle, verify_bundle

    found = verify_bundle(find_bundle(run_folder(settings.home, bundle)), pinned_key=public)
    if output == "json":
        echo_json({"holds": found.holds, "verification": found})
    else:
        for line in lines(found, settings.lang):
            click.echo(line)
    if not found.holds:
        raise Tampered(
            f"{found.bundle}: {len(found.problems)} deviation{'s' if len(found.problems) != 1 else ''}",
            hint="compare with another copy of the bundle; do not rely on this one",
        )
    return 0


def lines(found: Verification, lang: str) -> list[str]:
    """The verification for people."""
    zh = lang.startswith("zh")
    told = [_line(zh, "bundle", "证据包", found.bundle), _line(zh, "run", "运行编号", found.run or "–")]
    told.append(_line(zh, "sealed", "封存时间", found.created or "–"))
    checked = f"{found.files_checked} 个文件，{found.journal_records} 条日志记录"
    checked_en = f"{found.files_checked} files, {found.journal_records} journal records"
    told.append(_line(zh, "checked", "已核验", checked if zh else checked_en))
    told.append(_line(zh, "signed by", "签名公钥", _signer(found, zh)))
    told += [
        f"  {click.style(p.kind.value, fg='red', bold=True)}  {p.subject}{'：' if zh else ': '}{p.reason.of(lang)}"
        for p in found.problems
    ]
    if found.holds:
        good = (
            "完好：未发现改动、缺失或多出，签名有效。"
            if zh
            else "It holds: nothing changed, removed or added; signature valid."
        )
        told.append(click.style(good, fg="green", bold=True))
    return told


def _line(zh: bool, en: str, name: str, value: str) -> str:
    return f"{name}：{value}" if zh else f"{en:<10} {value}"


def _signer(found: Verification, zh: bool) -> str:
    if not found.key_fingerprint:
        return "无法读取公钥" if zh else "no key that can be read"
    if found.pinned:
        return f"{found.key_fingerprint} {'（与预期公钥一致）' if zh else '(the expected key)'}"
    note = "（未指定预期公钥，无法确认签名人身份）" if zh else "which you have not pinned (--key)"
    return f"{found.key_fingerprint}{'' if zh else ', '}{note}"


@evidence.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--key", "key_file", type=KEY, default=None, help="Ed25519 key that signs.  [default: HOME/keys/ed25519.pem]"
)
@click.pass_obj
def seal(settings: Settings, run: str, key_file: Path | None) -> int:
    """Seal the evidence of a closed run that was not sealed at its end, with its reports.

    \b
    Example:
      drctl evidence seal last
    """
    from orchestrator.evidence.signing import KEY_FILE
    from orchestrator.reports.publish import publish

    bundle = publish(run_folder(settings.home, run), key_file=key_file or settings.home / KEY_FILE)
    click.echo(str(bundle))
    return 0


@evidence.command()
@click.option("--key", "key_file", type=KEY, default=None, help="File to make.  [default: HOME/keys/ed25519.pem]")
@click.pass_obj
def keygen(settings: Settings, key_file: Path | None) -> int:
    """Make a signing key (mode 0600) and its public half beside it; never overwrites one.

    Give ed25519.pub.pem, or its fingerprint, to those who verify, by another way than the bundle.

    \b
    Example:
      drctl evidence keygen
    """
    from orchestrator.evidence.signing import KEY_FILE, create_key, fingerprint, public_file

    path = key_file or settings.home / KEY_FILE
    key = create_key(path)
    click.echo(f"private key  {path}")
    click.echo(f"public key   {public_file(path)}")
    click.echo(f"fingerprint  {fingerprint(key.public_key())}")
    return 0
