#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""A step of a rollout. The work is in the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_step
short_description: One step of a rollout
version_added: 0.1.0
description:
  - Runs one of the steps that the playbook C(unshare.container.rollout) consists of. Use it to build a playbook of your
    own with other steps in between.
  - A journal on the controller records every step. It lasts as long as the run of C(ansible-playbook).
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  diff_mode:
    details: As M(unshare.container.containers) shows it.
  action:
    description: Runs on the controller.
    support: full
options:
  step:
    description:
      - V(begin) begins a new journal.
      - V(stage) puts the systems on the host. Nothing is switched.
      - V(open_wave) notes the hosts of the play's batch as the next wave, and says whether the rollout goes on.
      - V(switch) brings the containers into their states, unless the rollout has stopped. A container that fails its
        checks goes back to its former generation.
      - V(note) counts the host as failed, because a task in between has failed.
      - V(undo) brings the host's containers back to the generations before the rollout, when it has stopped.
      - V(report) reports the outcome of every host, and fails when one has failed.
    type: str
    required: true
    choices: [begin, stage, open_wave, switch, note, undo, report]
  containers:
    description: The containers of the host, as in M(unshare.container.containers).
    type: dict
    default: {}
  trees:
    description: The trees of the host, as in M(unshare.container.containers). Used by O(step=stage).
    type: dict
    default: {}
  purge:
    description: As in M(unshare.container.containers). Used by O(step=switch).
    type: bool
  restart_outdated:
    description:
      - As in M(unshare.container.containers). Used by O(step=stage), where RV(pending) counts it, and an error comes
        before anything is restarted on any host, and by O(step=switch).
    type: bool
    default: false
  wave:
    description: Number of the wave, as O(step=open_wave) has returned it.
    type: int
    default: 0
  size:
    description: Number of hosts in the wave, as O(step=open_wave) has returned it.
    type: int
    default: 1
  max_fail_percentage:
    description: How many percent of the hosts of a wave may fail before the rollout stops, from 0 to 100.
    type: raw
    default: 0
  message:
    description: The reason of the failure. Used by O(step=note).
    type: str
    default: ''
  page:
    description: Path on the controller at which O(step=report) writes its HTML page. By default it writes none.
    type: path
  variables:
    description:
      - Variables of the playbook C(unshare.container.rollout), by their whole names. O(step=begin) and O(step=stage)
        check their values, and refuse variables of the host that look like one of them, misspelled.
      - By default nothing is checked.
    type: dict
    default: {}
seealso:
  - module: unshare.container.containers
"""

EXAMPLES = r"""
- name: Begin the rollout
  unshare.container.rollout_step:
    step: begin
  run_once: true

- name: Put the systems on the host
  unshare.container.rollout_step:
    step: stage
    containers: "{{ containers }}"

- name: Note that the hosts of the play are the next wave
  unshare.container.rollout_step:
    step: open_wave
  run_once: true
  register: wave

- name: Bring the containers into their states
  unshare.container.rollout_step:
    step: switch
    containers: "{{ containers }}"
    wave: "{{ wave.wave }}"
    size: "{{ wave.size }}"

- name: Say how it went
  unshare.container.rollout_step:
    step: report
    page: /srv/reports/rollout.html
  run_once: true
"""

RETURN = r"""
pending:
  description: Whether a switch would change anything on the host.
  returned: with O(step=stage)
  type: bool
goes_on:
  description: Whether the rollout goes on.
  returned: with O(step=open_wave)
  type: bool
wave:
  description: Number of the wave, from 1.
  returned: with O(step=open_wave)
  type: int
size:
  description: Number of hosts in it.
  returned: with O(step=open_wave)
  type: int
serving:
  description: Whether the host's containers run and pass their checks, with the new systems or with the former ones.
  returned: with O(step=switch)
  type: bool
containers:
  description: The results of the containers, as in M(unshare.container.containers).
  returned: with O(step=stage), O(step=switch) and O(step=undo)
  type: list
  elements: dict
hosts:
  description: The outcome of every host. The step prints the same as text.
  returned: with O(step=report)
  type: list
  elements: dict
page:
  description: Path of the page.
  returned: with O(step=report), when one was asked for
  type: str
"""
