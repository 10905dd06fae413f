"""The page on AWS: files that CloudFront alone reads, sent with the same headers as the twin's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.settings import Settings
from domain.errors import BadSetting
from domain.page import CACHED, FILES, page_config, page_policy
from infra.page import BUILT, check_built
from tests.infra.conftest import Synthesis, Synthesize
from tests.infra.templates import Template

HOST = "<ApiF70053CD>.execute-api.<AWS::Region>.<AWS::URLSuffix>"
DISTRIBUTION = "PageDistributionFBB4E0B8"
OTHER = "https://chat.example.org"
OWN = "https://talk.example.org"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0f1e"


@pytest.fixture(scope="session")
def built() -> None:
    if not (BUILT / "index.html").is_file():
        pytest.skip("`make page` has not built the page")


@pytest.fixture(scope="module")
def paged(built: None, synthesize: Synthesize) -> Synthesis:
    """A stage with the page under a name of CloudFront's, and a list of origins."""
    return synthesize(page="true", origins=OTHER)


@pytest.fixture(scope="module")
def named(built: None, synthesize: Synthesize) -> Synthesis:
    """And one with a domain of its own, users of Cognito, and origins that name the page already."""
    own = {"page_domain": OWN.removeprefix("https://"), "page_certificate": CERTIFICATE}
    return synthesize(page="true", auth="cognito", origins=f"{OTHER}, {OWN}", **own)


@pytest.fixture(scope="module")
def service(paged: Synthesis) -> Template:
    return paged.template("roomcast-dev-service")


def only(template: Template, kind: str) -> dict[str, Any]:
    [found] = template.of(kind).values()
    properties: dict[str, Any] = found
    return properties


def distribution(template: Template) -> dict[str, Any]:
    found: dict[str, Any] = only(template, "AWS::CloudFront::Distribution")["DistributionConfig"]
    return found


def test_a_stage_has_none_unless_it_is_asked_for(dev: Synthesis) -> None:
    """Neither a distribution nor a bucket."""
    types = {it["Type"] for it in dev.template("roomcast-dev-service").body["Resources"].values()}
    assert not {it for it in types if "CloudFront" in it or "S3" in it or "Custom" in it}


def test_synthesis_is_silent(paged: Synthesis, named: Synthesis) -> None:
    """No finding of cdk-nag that is not reasoned at its resource, and none of cfn-lint."""
    assert (paged.said, named.said) == ("", "")
    templates = [str(it / "roomcast-dev-service.template.json") for it in (paged.folder, named.folder)]
    lint = [str(Path(sys.executable).with_name("cfn-lint")), "--ignore-checks", "W3005", "--", *templates]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_bucket_is_cloudfronts_alone(service: Template) -> None:
    """Private, by TLS only, read by this distribution and written by what copies the files; it ends with its stack."""
    [(name, bucket)] = service.of("AWS::S3::Bucket").items()
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert service.body["Resources"][name]["DeletionPolicy"] == "Delete"
    denied, read = only(service, "AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert (read["Action"], read["Principal"]) == ("s3:GetObject", {"Service": "cloudfront.amazonaws.com"})
    arn = f"arn:<AWS::Partition>:cloudfront::<AWS::AccountId>:distribution/<{DISTRIBUTION}>"
    assert read["Condition"] == {"StringEquals": {"AWS:SourceArn": arn}}
    [origin] = distribution(service)["Origins"]
    access = only(service, "AWS::CloudFront::OriginAccessControl")["OriginAccessControlConfig"]
    assert (access["SigningBehavior"], access["SigningProtocol"]) == ("always", "sigv4")
    assert origin["OriginAccessControlId"] == "<PageAccess56928705.Id>"
    assert origin["S3OriginConfig"] == {"OriginAccessIdentity": ""}


def test_the_headers_are_the_twins(service: Template) -> None:
    """The same policy, to this API alone; and HTTPS alone."""
    policy = only(service, "AWS::CloudFront::ResponseHeadersPolicy")["ResponseHeadersPolicyConfig"]
    headers = policy["SecurityHeadersConfig"]
    assert all(it.pop("Override") for it in headers.values())
    assert headers == {
        "ContentSecurityPolicy": {"ContentSecurityPolicy": page_policy(f"wss://{HOST}")},
        "ContentTypeOptions": {},
        "ReferrerPolicy": {"ReferrerPolicy": "no-referrer"},
        "StrictTransportSecurity": {"AccessControlMaxAgeSec": 365 * 86_400},
    }
    behaviour = distribution(service)["DefaultCacheBehavior"]
    assert behaviour["ResponseHeadersPolicyId"] == "<PageHeadersE755A92A>"
    assert (behaviour["ViewerProtocolPolicy"], behaviour["AllowedMethods"]) == ("redirect-to-https", ["GET", "HEAD"])
    assert (behaviour["Compress"], distribution(service)["DefaultRootObject"]) == (True, "index.html")
    assert distribution(service)["PriceClass"] == "PriceClass_100"


def test_the_files_are_what_was_built(paged: Synthesis, service: Template) -> None:
    """Those three and what they are told, to be asked for again before each use; nothing else of that folder."""
    copied = only(service, "Custom::CDKBucketDeployment")
    assert copied["SystemMetadata"] == {"cache-control": CACHED}
    assert (copied["Prune"], copied["RetainOnDelete"]) == (True, False)
    files, told = (paged.folder / f"asset.{it.removesuffix('.zip')}" for it in copied["SourceObjectKeys"])
    assert {it.name: it.read_bytes() for it in files.iterdir()} == {it: (BUILT / it).read_bytes() for it in FILES}
    config = (told / "config.json").read_text()
    for marker, value in copied["SourceMarkers"][1].items():
        config = config.replace(f'"{marker}"', value).replace(marker, value)
    assert json.loads(config) == page_config(f"wss://{HOST}/dev", "demo")


def test_its_origin_may_connect(paged: Synthesis, named: Synthesis, dev: Synthesis) -> None:
    """Beside those that are listed, once. Without a list any may."""
    own = f"https://<{DISTRIBUTION}.DomainName>"
    for synthesis, origins in ((paged, (OTHER, own)), (named, (OTHER, OWN)), (dev, ())):
        functions = synthesis.template("roomcast-dev-service").of("AWS::Lambda::Function").values()
        [authorizer] = [it for it in functions if it.get("FunctionName") == "roomcast-dev-authorizer"]
        assert Settings.from_environment(authorizer["Environment"]["Variables"]).origins == origins
    outputs = {it: paged.template("roomcast-dev-service").outputs[it] for it in ("PageUrl", "PageTarget")}
    assert outputs == {"PageUrl": own, "PageTarget": f"<{DISTRIBUTION}.DomainName>"}


def test_a_domain_of_its_own(named: Synthesis, service: Template) -> None:
    """By TLS 1.2 or newer, which CloudFront's own certificate does not let one ask for."""
    template = named.template("roomcast-dev-service")
    assert distribution(template)["Aliases"] == ["talk.example.org"]
    assert distribution(template)["ViewerCertificate"] == {
        "AcmCertificateArn": CERTIFICATE,
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    assert template.outputs["PageUrl"] == OWN
    assert "ViewerCertificate" not in distribution(service)


def test_a_page_that_was_not_built_is_one_sentence(tmp_path: Path) -> None:
    """It says what is missing, and what to do."""
    for name in FILES:
        with pytest.raises(BadSetting, match=f"{name} is missing; run `make page` first"):
            check_built(tmp_path)
        (tmp_path / name).touch()
    check_built(tmp_path)
