"""A few mixed prompts on a real server, some of them cancelled; `nox -s soak` runs hundreds."""

from __future__ import annotations

from random import Random

from tests.hosting.server import emptied
from tests.reliability.soak import Soak, install


def test_every_latent_is_the_one_that_its_workflow_gives_alone(server, client):
    install(server)
    before = server.complaints()
    with emptied(server.models / "recache"):
        soak = Soak(server, client, Random(1), kinds=3)
        soak.run(6)
    assert soak.different == [] and soak.endings.total() == 6
    assert soak.endings["sampled"]
    assert server.complaints() == before
