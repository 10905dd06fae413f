"""The CDK's entry: a stage's settings from the context, its two stacks to `cdk.out`. Reads no network.

The context in cdk.json are the CDK's recommended behaviours, save one: policies are not minimized, so that each
statement keeps the name under which infra/functions.py makes it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from domain.errors import BadSetting
from infra.packaging import bundle
from infra.page import check_built
from infra.settings import read_stage
from infra.stacks import deployment


def main() -> None:
    behaviours = json.loads(Path(__file__).with_name("cdk.json").read_text())["context"]
    app = App(outdir=os.environ.get("CDK_OUTDIR", "cdk.out"), context=behaviours)
    try:
        stage = read_stage(app.node.get_all_context() or {})
        if stage.page:
            check_built()
        code = bundle(stage.architecture, stage.python)
    except BadSetting as error:
        sys.exit(f"roomcast: {error}")
    deployment(app, stage, code)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()


if __name__ == "__main__":
    main()
