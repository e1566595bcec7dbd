from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynamo.llm.chat_template import ChatTemplate
from dynamo.llm.errors import ModelError, RequestError

HELLO = [{"role": "user", "content": "Hello"}]


def test_the_model_directory_holds_the_template(model_path: Path) -> None:
    template = ChatTemplate.load(model_path)
    assert template is not None
    assert template.render(HELLO) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_what_real_templates_call_is_there() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}"
        "{% generation %}{{ m | tojson }}{% endgeneration %}{% endfor %}{{ strftime_now('%Y') | length }}{{ mood }}"
    )
    template = ChatTemplate({"default": source}, {"bos_token": "<s>"})
    text = template.render([{"role": "ü", "content": 1}] * 3, variables={"mood": "!"})
    assert text == '<s>{"role": "ü", "content": 1}{"role": "ü", "content": 1}4!'


def test_a_template_may_refuse_messages() -> None:
    template = ChatTemplate({"default": "{{ raise_exception('roles must alternate') }}"})
    with pytest.raises(RequestError, match="roles must alternate"):
        template.render(HELLO)


def test_a_template_cannot_reach_the_process() -> None:
    template = ChatTemplate({"default": "{{ messages.__class__.__mro__ }}{{ messages.append(1) }}"})
    with pytest.raises(RequestError):
        template.render(HELLO)


def test_tools_pick_the_template_made_for_them(tmp_path: Path) -> None:
    templates = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    template = ChatTemplate.load(tmp_path)
    assert template is not None
    assert template.render(HELLO) == "plain"
    assert template.render(HELLO, tools=[{}]) == "tools"


def test_the_final_message_can_be_continued(model_path: Path) -> None:
    template = ChatTemplate.load(model_path)
    assert template is not None
    text = template.render([*HELLO, {"role": "assistant", "content": "Hi th"}], continue_final_message=True)
    assert text.endswith("<|im_start|>assistant\nHi th")


def test_a_broken_template_names_its_line() -> None:
    with pytest.raises(ModelError, match="line 2"):
        ChatTemplate({"default": "\n{% if %}"})


def test_a_model_without_a_template(tmp_path: Path) -> None:
    assert ChatTemplate.load(tmp_path) is None
