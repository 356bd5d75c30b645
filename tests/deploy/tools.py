"""What the tests ask of Helm and of YAML, each as one command that prints JSON or YAML.

yaml FILE...             what stands in the documents of files, as JSON
lint CHART VALUES        what Helm finds wrong with a chart, as JSON
render CHART VALUES      the manifests of a chart, in the order of their files
notes CHART VALUES       what it tells whoever installs it
"""

import json
import sys

import yaml


def read(path):
    with open(path, encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def values(path):
    return {} if path == "-" else read(path)[0] or {}


def files(chart, given):
    from helm_python import Chart

    return Chart.load(chart).render(given, name="restore-gateway", namespace="restore")


def render(chart, given):
    for path, text in sorted(files(chart, given).items()):
        if path.endswith(".yaml") and text.strip():
            for document in text.split("\n---\n"):
                if document.strip().strip("-").strip():
                    print(f"---\n# {path.split('/', 1)[1]}\n{document.strip().removeprefix('---').strip()}")


def main(command, *rest):
    if command == "yaml":
        json.dump([document for path in rest for document in read(path)], sys.stdout)
    elif command == "lint":
        import helm_python

        json.dump(helm_python.lint(rest[0], values(rest[1]), strict=True), sys.stdout)
    elif command == "render":
        render(rest[0], values(rest[1]))
    elif command == "notes":
        print(*(text for path, text in files(rest[0], values(rest[1])).items() if path.endswith("NOTES.txt")))
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
