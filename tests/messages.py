"""The form of error messages, checked by several tests."""

import pytest

from dsh_jax.errors import UserError


def one_sentence(call, *parts):
    """The message of the `UserError` that `call` raises: one sentence with these parts."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message, message
    assert ":" in message  # what is wrong, and then the fix
    for part in parts:
        assert str(part) in message, message
    return message
