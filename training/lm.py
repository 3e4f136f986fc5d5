"""The language model's losses, on the reference's own modules.

The head learns a flow from noise to the next latent: flow matching where its two times are equal,
and Lagrangian self-distillation (arXiv 2505.18825) between different ones, so that one step from
0 to 1 suffices. Beside it a linear regression of the next latent guides the backbone.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.utils.config import Config
from torch import nn

from training.features import LATENT_DIM
from training.lm_data import Batch
from training.trunk import transformed


@dataclass(frozen=True)
class LossWeights:
    """Shares of the losses and the noise on what the model sees."""

    regression: float = 1.0
    end: float = 0.2
    distillation: float = 1.0
    guidance: float = 1.4
    input_noise: float = 0.15
    prompt_noise: float = 0.1
    noises_per_frame: int = 2
    # One in so many frames is used for the distillation, whose derivative costs more.
    distillation_every: int = 4


class LanguageModel(nn.Module):
    """`flow_lm` of the bundle, and the regression that only training needs."""

    latent_weight: torch.Tensor

    def __init__(self, config: Config, latent_weight: torch.Tensor) -> None:
        """Fresh weights; `latent_weight` `[LATENT_DIM]` of mean 1 weighs the errors of the latents."""
        super().__init__()
        self.flow_lm = FlowLMModel.from_pydantic_config(config.flow_lm, LATENT_DIM, True)
        width = config.flow_lm.transformer.d_model
        self.flow_lm.speaker_proj_weight = nn.Parameter(
            torch.randn(width, LATENT_DIM) * LATENT_DIM**-0.5
        )
        self.regression = nn.Linear(width, LATENT_DIM)
        self.register_buffer("latent_weight", latent_weight, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        flow_lm = self.flow_lm
        nn.init.normal_(flow_lm.conditioner.embed.weight, std=1.0)
        nn.init.normal_(flow_lm.bos_emb, std=0.5)
        depth = len(flow_lm.transformer.layers)
        for layer in flow_lm.transformer.layers:
            for linear in (
                layer.self_attn.in_proj,
                layer.self_attn.out_proj,
                layer.linear1,
                layer.linear2,
            ):
                nn.init.xavier_uniform_(linear.weight)
            for linear in (layer.self_attn.out_proj, layer.linear2):
                with torch.no_grad():
                    linear.weight.mul_((2 * depth) ** -0.5)
        head = flow_lm.flow_net
        for block in [*head.res_blocks, head.final_layer]:
            nn.init.zeros_(block.adaLN_modulation[-1].weight)
            nn.init.zeros_(block.adaLN_modulation[-1].bias)
        nn.init.zeros_(head.final_layer.linear.weight)

    def _said_after(self, batch: Batch, seen: torch.Tensor, temperature: float) -> torch.Tensor:
        """What one step of the head makes of every frame after the frames `seen`."""
        conditions = self.backbone(batch, seen)
        start = torch.randn_like(seen) * temperature**0.5
        return self.one_step(conditions.flatten(0, 1), start.flatten(0, 1)).view_as(start)

    @torch.no_grad()
    def own_latents(self, batch: Batch, temperature: float, share: float) -> torch.Tensor:
        """The model's own version of every frame, `[rows, frames, LATENT_DIM]`.

        A `share` of the frames before each are its own as well, the others true.
        """
        own = self._said_after(batch, batch.latents, temperature)
        seen = torch.where(torch.rand_like(own[..., :1]) < share, own, batch.latents)
        return self._said_after(batch, seen, temperature)

    def one_step(self, conditions: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """The latents that the head makes of noise in one step, `[frames, LATENT_DIM]`."""
        time = torch.zeros(1, 1, device=start.device)
        return start + self.flow_lm.flow_net(conditions, time, time + 1, start)

    def heads(self, batch: Batch, prompt: torch.Tensor) -> torch.Tensor:
        """Rows of the voice's start, the prompt and the text, `[rows, 1 + prompt + tokens, width]`."""
        flow_lm = self.flow_lm
        return torch.cat(
            [
                flow_lm.bos_before_voice.expand(len(prompt), 1, -1),
                F.linear(prompt, flow_lm.speaker_proj_weight),
                flow_lm.conditioner(batch.text),
            ],
            dim=1,
        )

    def backbone(
        self,
        batch: Batch,
        latents: torch.Tensor | None = None,
        prompt: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The conditions of all frames, `[rows, frames, width]`.

        They follow `latents` and `prompt` instead of the batch's where given.
        """
        flow_lm = self.flow_lm
        latents = batch.latents if latents is None else latents
        first = flow_lm.bos_emb.expand(len(latents), 1, -1)
        frames = flow_lm.input_linear(torch.cat([first, latents[:, :-1]], dim=1))
        heads = self.heads(batch, batch.prompt if prompt is None else prompt)
        parts = torch.cat([heads, frames], dim=1)
        width = parts.shape[-1]
        x = parts.gather(1, batch.order[..., None].expand(-1, -1, width))
        x = flow_lm.out_norm(transformed(flow_lm.transformer, x))
        return x.gather(1, batch.frame_positions[..., None].expand(-1, -1, width))

    def _flow_matching(self, conditions: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        noise = torch.randn_like(target)
        t = torch.sigmoid(torch.randn(len(target), 1, device=target.device))
        velocity = self.flow_lm.flow_net(conditions, t, t, noise.lerp(target, t))
        return (velocity.float() - (target - noise)).square()

    def _distillation(self, conditions: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        head = self.flow_lm.flow_net
        times = torch.rand(2, len(target), 1, device=target.device)
        s, t = times.amin(0), times.amax(0)
        s = s * (torch.rand_like(s) < 0.5)
        start = torch.randn_like(target).lerp(target, s)
        velocity, derivative = torch.func.jvp(
            lambda time: head(conditions, s, time, start), (t,), (torch.ones_like(t),)
        )
        with torch.no_grad():
            arrived = start + (t - s) * velocity
            wanted = head(conditions, t, t, arrived)
        return (velocity + (t - s) * derivative - wanted).square()

    def _head_losses(
        self,
        conditions: torch.Tensor,
        target: torch.Tensor,
        importance: torch.Tensor,
        weights: LossWeights,
    ) -> dict[str, torch.Tensor]:
        n = weights.noises_per_frame
        flow = self._flow_matching(conditions.repeat(n, 1), target.repeat(n, 1))
        losses = {"flow": (flow * importance.repeat(n, 1)).mean()}
        if weights.distillation > 0:
            picked = slice(None, None, weights.distillation_every)
            # Few rows and a derivative: float32 costs little here and bf16 would be felt.
            with torch.autocast(conditions.device.type, enabled=False):
                errors = self._distillation(conditions[picked], target[picked])
            losses["distillation"] = (errors * importance[picked]).mean()
        return losses

    def losses(self, batch: Batch, weights: LossWeights) -> dict[str, torch.Tensor]:
        """The losses of a batch, each a mean over frames and numbers.

        With guidance the head's targets lie further than the true latents in the direction that
        the text gives, which the regression tells, as it always learns the true ones: guidance
        without a classifier, learnt instead of computed at each frame (arXiv 2509.06926 calls it
        distilled).
        """
        seen, prompt = batch.latents, batch.prompt
        if self.training:
            prompt = prompt + weights.prompt_noise * torch.randn_like(prompt)
            amount = weights.input_noise * 2 * torch.rand(len(seen), 1, 1, device=seen.device)
            seen = seen + amount * torch.randn_like(seen)
        conditions = self.backbone(batch, seen, prompt)
        conditions = conditions[batch.is_frame].float()
        expected = self.regression(conditions).float()
        target = batch.targets[batch.is_frame]
        guided = target
        if weights.guidance != 1.0:
            with torch.no_grad():
                textless = self.backbone(batch.textless(), seen, prompt)[batch.is_frame]
                effect = expected - self.regression(textless).float()
            guided = target + (weights.guidance - 1.0) * effect
        speech = (1.0 - batch.is_end[batch.is_frame])[:, None]
        # Silence is easy and all alike: the first frame of it counts, the others hardly.
        importance = (0.2 + 0.8 * speech) * self.latent_weight
        importance = importance / importance.mean()
        losses = {
            "regression": ((expected - target).square() * importance).mean(),
            "end": F.binary_cross_entropy_with_logits(
                self.flow_lm.out_eos(conditions)[:, 0].float(), batch.is_end[batch.is_frame]
            ),
        }
        return losses | self._head_losses(conditions, guided, importance, weights)

    def total(self, losses: dict[str, torch.Tensor], weights: LossWeights) -> torch.Tensor:
        """The weighted sum."""
        total = (
            losses["flow"] + weights.regression * losses["regression"] + weights.end * losses["end"]
        )
        if "distillation" in losses:
            total = total + weights.distillation * losses["distillation"]
        return total
