"""The paper's trainer, re-stated: full logits, the two label columns, soft targets, the mean. Ours must be the same."""

import tiny
import torch

from erprm.kernels import step_loss


def test_same_loss_and_gradients_as_the_papers_trainer_on_a_llama() -> None:
    model = tiny.llama(seed=3)
    torch.manual_seed(0)
    plus, minus = 7, 9
    ids = torch.randint(0, 200, (2, 24))
    tags = torch.zeros(2, 24, dtype=torch.bool)
    tags[0, [5, 11, 20]] = True
    tags[1, [3, 23]] = True
    targets = torch.rand(5)

    logits = model(ids).logits.float()
    pair = torch.log_softmax(logits[tags][:, [plus, minus]], dim=-1)
    theirs = -(torch.stack([targets, 1 - targets], dim=1) * pair).sum(dim=1).mean()
    theirs.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    hidden = model.model(ids).last_hidden_state.flatten(0, 1)
    head = model.lm_head.weight[[minus, plus]]
    ours, scores = step_loss(hidden, head, tags.flatten().nonzero().squeeze(1), targets=targets)
    ours.backward()
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=0)
    assert torch.allclose(scores[:, 0], pair[:, 0].exp(), rtol=1e-5)
    for name, parameter in model.named_parameters():
        difference = (parameter.grad - expected[name]).norm()
        assert difference <= 1e-6 * expected[name].norm(), name
