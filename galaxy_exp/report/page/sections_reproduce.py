"""How to get the same again: commands, the sweep file, versions, digests and seeds."""

from __future__ import annotations

from galaxy_exp.report.page.html import Html, code, definitions, element, join, paragraph, preformatted
from galaxy_exp.report.page.material import Material

__all__ = ["reproduce_section"]


def reproduce_section(material: Material) -> Html:
    """Everything that the result depends on."""
    record = material.record
    training = record.config.training
    is_exact = training.deterministic and training.precision == "float32"
    kept = (
        "Training was deterministic in float32, so the same versions on the same kind of processor give the same "
        "numbers, bit for bit."
        if is_exact
        else "Training was not set to be deterministic (training.deterministic with precision float32), so a "
        "repetition comes near these numbers without being equal to them."
    )
    return join(
        [
            paragraph("With the sweep file below saved as ", code("sweep.yaml"), ":"),
            preformatted(_commands(material), "Commands to reproduce the sweep"),
            paragraph(kept),
            element("h3", "Identity", id="identity"),
            _identity(material),
            element("h3", "Versions", id="versions"),
            _versions(material),
            element("h3", "Sweep file", id="sweep-file"),
            element(
                "details",
                element("summary", "All keys with their values, defaults included"),
                preformatted(material.sweep_file, "Sweep file"),
            ),
        ]
    )


def _commands(material: Material) -> str:
    record, leader = material.record, material.leader
    commands = {"galaxy-exp sweep sweep.yaml": "the whole sweep once more"}
    if leader is not None and leader.result is not None:
        who = "the winner" if material.winner else "the best trial so far"
        commands[f"galaxy-exp reproduce {record.sweep_id}/{leader.number}"] = f"{who} alone, in this project's folder"
    width = max(map(len, commands))
    return "\n".join(f"{command:{width}}  # {what}" for command, what in commands.items())


def _identity(material: Material) -> Html:
    record, data = material.record, material.data
    leader = material.leader
    return definitions(
        [
            ("Sweep", code(record.sweep_id)),
            ("Data digest", code(data.digest)),
            ("Split digest", code(data.split_digest)),
            ("Test digest", code(material.test["digest"]) if material.test else ""),
            ("Seed of the search", str(record.config.search.seed)),
            ("Seed of the split", "" if data.own_split else str(record.config.data.split.seed)),
            (f"Seed of trial {leader.number}" if leader else "", code(leader.seed) if leader else ""),
            ("MLflow run", code(record.parent_run_id) if record.parent_run_id else ""),
        ]
    )


def _versions(material: Material) -> Html:
    software = dict(material.record.started.software)
    commit = software.pop("git_commit", None)
    entries: list[tuple[object, object]] = [("Git commit of the project folder", code(commit) if commit else "none")]
    return definitions([*entries, *((name, version) for name, version in software.items())])
