"""From the EHR's ImagingStudy back to the images, by the Endpoint that it names."""

from __future__ import annotations

from pathlib import Path

from dicomweb_client.api import DICOMwebClient

from intu_fhir.web.running import WebPage
from tests.support.ports import free_port
from tests.support.running import running_site
from tests.support.studies import make_study, uid


def test_the_endpoint_of_a_published_study_answers(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Who follows ImagingStudy.endpoint gets exactly the instances that it lists."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/dicom-web"
    web = {"port": port, "dicomweb": {"url": url}}
    ehr = {"publish": {"endpoint": True}}
    with running_site(tmp_path, migrated_database_url, ehr=ehr, web=web) as running:
        page = WebPage(running.site.app)
        page.start()
        try:
            running.send(make_study("one"))
            running.rest()
            [study] = running.imaging_studies()
            [endpoint] = running.ehr.resources("Endpoint")
            assert study["endpoint"][0]["reference"] == f"Endpoint/{endpoint['id']}"
            assert endpoint["connectionType"]["code"] == "dicom-wado-rs"
            [oid] = [i["value"] for i in study["identifier"] if i["value"].startswith("urn:oid:")]
            client = DICOMwebClient(endpoint["address"])
            given = client.retrieve_study(oid.removeprefix("urn:oid:"))
        finally:
            page.stop()
    listed = {i["uid"] for series in study["series"] for i in series["instance"]}
    assert {one.SOPInstanceUID for one in given} == listed
    assert uid("one", 1, 1) in listed
