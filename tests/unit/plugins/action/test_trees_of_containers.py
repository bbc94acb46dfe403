# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T3: trees that are declared beside containers come before these; in check mode those after them know of them."""

from __future__ import annotations

import multiprocessing
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.unshare.container.plugins.action.container_script import ActionModule as ContainerScript
from ansible_collections.unshare.container.plugins.action.containers import ActionModule as Containers
from ansible_collections.unshare.container.plugins.action.rollout_step import ActionModule as RolloutStep
from ansible_collections.unshare.container.plugins.action.tree import ActionModule as Tree
from ansible_collections.unshare.container.plugins.module_utils.life import software
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.plugin_utils.foreseen_trees import foreseen_trees, note_foreseen

from .conftest import Run

WEB = {"web": {"operating_system": {"host_name": "web"}, "store": {"tree": "debian13"}}}
TREES = {"debian13": {"directory": "/srv/debian"}, "alpine": {"directory": "/srv/alpine", "state": "latest"}}
CONTENT = "0" * 32
DIFFERENCE = {"before": "", "after": "x", "before_header": "tree debian13", "after_header": "tree debian13"}


def names(run: Run) -> list[str]:
    """Return the modules that were sent, without the collection's name."""
    return [name.rpartition(".")[2] for name, _sent in run.sent]


def test_trees_come_first_in_their_order(run: Run) -> None:
    run.answers = [
        {"changed": True, "name": "debian13", "content": CONTENT, "root": "/x", "diff": {**DIFFERENCE}},
        {"changed": False, "name": "alpine"},
        {"changed": False, "containers": []},
    ]
    result = run(Containers, {"containers": WEB, "trees": TREES}, diff=True)
    assert names(run) == ["tree", "tree", "containers"]
    assert run.sent[0][1] == {"name": "debian13", "directory": "/srv/debian"}
    assert "trees" not in run.sent[2][1]
    assert result["changed"]
    assert result["trees"] == [
        {"changed": True, "name": "debian13", "content": CONTENT},
        {"changed": False, "name": "alpine"},
    ]
    assert result["diff"] == [DIFFERENCE]


def test_without_one_of_its_trees_nothing_is_done_about_containers(run: Run) -> None:
    run.answers = [{"changed": True, "name": "debian13"}, {"failed": True, "msg": "tree 'alpine': no room"}]
    result = run(Containers, {"containers": WEB, "trees": TREES})
    assert names(run) == ["tree", "tree"]
    assert (result["failed"], result["msg"]) == (True, "trees.alpine: tree 'alpine': no room")
    assert result["changed"]


@pytest.mark.parametrize(
    ("trees", "said"),
    [
        ([], "trees: must be a mapping of names to trees, not a list"),
        ({"A b": {}}, "trees: 'A b' cannot name a tree"),
        ({"x": "y"}, "trees.x: must be a mapping of options"),
        ({"x": {"name": "y"}}, "trees.x.name: is the key of the tree"),
        ({"x": {"sent": {}}}, "trees.x.sent: is filled in"),
        ({"x": {"mmdebstrap": "trixie"}}, "trees.x.mmdebstrap: must be a mapping of options, as {suite: trixie}"),
        ({"x": {"archive": "/a.tar"}}, "trees.x.archive: must be a mapping of options, as {path: /a.tar}"),
    ],
)
def test_what_declares_no_trees_is_refused(run: Run, trees: t.Any, said: str) -> None:
    with pytest.raises(AnsibleActionFail, match=said):
        run(Containers, {"containers": WEB, "trees": trees})
    assert run.sent == []


def test_a_tree_that_a_container_is_declared_with_is_not_taken_away(run: Run) -> None:
    """The name would be gone before the container is refused that needs it."""
    with pytest.raises(AnsibleActionFail, match=r"trees\.debian13\.state: 'absent' takes away .* container 'web'"):
        run(Containers, {"containers": WEB, "trees": {"debian13": {"state": "absent"}}})
    assert run.sent == []
    gone = {"web": {**WEB["web"], "state": "absent"}}
    run(Containers, {"containers": gone, "trees": {"debian13": {"state": "absent"}}})
    assert names(run) == ["tree", "containers"]


def test_tasks_of_many_hosts_that_are_delegated_to_one_note_what_they_foresee(tmp_path: Path) -> None:
    count, workers = 60, 6

    def note(worker: int) -> None:
        for number in range(worker, count, workers):
            note_foreseen(str(tmp_path), "builder", f"tree{number}", "")

    started = [multiprocessing.get_context("fork").Process(target=note, args=(worker,)) for worker in range(workers)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * workers
    assert len(foreseen_trees(str(tmp_path), "builder")) == count


def test_nobody_would_bring_trees_without_the_plugin(run: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="async: nobody would bring the 'trees'"):
        run(Containers, {"containers": WEB, "trees": TREES}, async_val=10)


@pytest.mark.parametrize("kind", [Containers, ContainerScript])
def test_what_the_plugin_fills_in_cannot_be_given(run: Run, kind: t.Any) -> None:
    arguments = {"containers": WEB} if kind is Containers else {"system": {"name": "web"}, "boot": ""}
    with pytest.raises(AnsibleActionFail, match="foreseen_trees: is filled in"):
        run(kind, {**arguments, "foreseen_trees": {}})


def test_in_check_mode_those_after_a_tree_know_that_it_would_be_made(run: Run) -> None:
    run.answers = [{"changed": True, "name": "debian13"}, {"changed": True, "name": "known", "content": CONTENT}]
    for name in ("debian13", "known"):
        run(Tree, {"name": name, "directory": "/srv"}, check=True)
    run(Containers, {"containers": WEB}, check=True)
    run(ContainerScript, {"system": {"name": "web"}, "boot": ""}, check=True)
    assert [sent.get("foreseen_trees") for _name, sent in run.sent[2:]] == [{"debian13": "", "known": CONTENT}] * 2
    # Not on another host, nor what would be taken away again, nor without check mode.
    run.sent.clear()
    run(Containers, {"containers": WEB}, check=True, host="web2")
    run.answers = [{"changed": True, "name": "debian13"}]
    run(Tree, {"name": "debian13", "state": "absent"}, check=True)
    run(Containers, {"containers": WEB}, check=True)
    run(Containers, {"containers": WEB})
    found = [sent.get("foreseen_trees") for name, sent in run.sent if name.endswith("containers")]
    assert found == [None, {"known": CONTENT}, None]


def test_what_is_foreseen_is_not_what_the_name_leads_to_now(tmp_path: t.Any) -> None:
    layout = Layout(tmp_path)
    (layout.trees / CONTENT / "root").mkdir(parents=True)
    of = software.content_of_tree
    assert of(layout, "x", True, {"x": CONTENT}) == CONTENT
    assert of(layout, "x", True, {"x": "1" * 32}) == ""
    assert of(layout, "x", True, {"x": ""}) == ""
    with pytest.raises(Exception, match="store.tree: this host has no tree 'x'"):
        of(layout, "x", False, {"x": CONTENT})


def test_a_rollout_brings_trees_when_it_stages_and_not_later(run: Run) -> None:
    """A host that cannot get its tree is not staged, and held back with all others."""
    run(RolloutStep, {"step": "begin"})
    given = {"containers": WEB, "trees": TREES}
    run.answers = [{"changed": True}, {"changed": False}, {"changed": True, "containers": [{"pending": True}]}]
    staged = run(RolloutStep, {"step": "stage", **given})
    assert (names(run), staged["pending"]) == (["tree", "tree", "containers"], True)
    run.answers = [{"failed": True, "msg": "no room"}]
    assert "trees.debian13: no room" in run(RolloutStep, {"step": "stage", **given}, host="web2")["msg"]
    run.answers = [AnsibleConnectionFailure("gone")]
    assert "cannot be reached: gone" in run(RolloutStep, {"step": "stage", **given}, host="web3")["msg"]
    run.sent.clear()
    batch = {"ansible_play_batch": ["web1"]}
    assert not run(RolloutStep, {"step": "open_wave"}, variables=batch)["goes_on"]
    assert run(RolloutStep, {"step": "switch", **given})["skip_reason"] == "held back"
    assert run.sent == []
