from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from la.learn.attention_loss import object_cells, object_shares, recorded_reads
from la.model.label_anything import LabelAnything
from la.model.prompt_encoder import PADDING
from la.model.start.channels import Channels, main_directions
from la.profiles import profile
from la.types import Batch
from tests.conftest import fresh_model
from tests.model.planted import planted_batch, prompts_of

QUICK = replace(profile("quick").model, start="agreeing")
LARGE = {
    256: replace(QUICK, embed_dim=256, image_size=240, n_heads=8, mlp_dim=64),
    512: replace(QUICK, embed_dim=512, image_size=1024, n_heads=8, mlp_dim=64, patch_size=16),
}
CONFIGS = {96: QUICK} | LARGE
PUBLISHED = replace(
    QUICK, norm_first=False, first_residual=False, background="unprompted", logit_downsample=8
)


@torch.no_grad()
def attention_shares(model: LabelAnything, batch: Batch) -> torch.Tensor:
    """Share of the attention on the object, the mean over tokens and heads of each layer."""
    encoder = model.prompt_encoder
    with recorded_reads(encoder) as reads:
        model.support(batch)
    side = batch.source.support.shape[-1]
    cells = object_cells(batch.objects, side)
    valid = encoder.sparse_prompts(batch.prompts)[1] != PADDING
    shares = []
    for read in reads:
        shares.append(object_shares(read, cells).mean(1)[valid].mean())
    return torch.stack(shares)


@torch.no_grad()
def embeddings(model: LabelAnything, batch: Batch) -> torch.Tensor:
    """Class-example embeddings (E, D) of length 1."""
    images = model.encode_features(batch.source.support)
    encode = model.prompt_encoder.encode
    pairs = encode(images, batch.prompts, batch.support_episode, batch.token_rows)
    return F.normalize(pairs.embeddings, dim=1)


def test_the_token_pool_begins_as_wide_as_the_configuration_says():
    for std in (0.1, 0.02):
        config = replace(QUICK, start="usual", token_pool_std=std)
        pool = fresh_model(config).prompt_encoder.class_encoder.pos_embedding
        assert pool.std().item() == pytest.approx(std, rel=0.05)


# ---- what an untrained model does


@pytest.mark.parametrize("dim", CONFIGS)
def test_masked_cells_get_most_of_the_attention(dim):
    config = CONFIGS[dim]
    share = attention_shares(fresh_model(config), planted_batch(config, 0, n_episodes=1))
    assert share[0] > 0.7
    assert share[1] > 0.5


@pytest.mark.parametrize("dim", CONFIGS)
def test_the_object_under_a_point_gets_more_attention_than_its_share_of_the_cells(dim):
    config = CONFIGS[dim]
    batch = planted_batch(config, 0, n_episodes=1, kind="point")
    share = attention_shares(fresh_model(config), batch)
    assert share.min() > 1.2 * batch.objects.float().mean()


@pytest.mark.parametrize("dim", CONFIGS)
def test_embeddings_of_one_class_agree_more_than_those_of_two_in_one_image(dim):
    config = CONFIGS[dim]
    batch = planted_batch(config, 0, n_episodes=2)
    n, side = batch.objects.shape[:2]
    others = torch.zeros_like(batch.objects)
    others[:, side // 2 : side // 2 + side // 3, side // 2 : side // 2 + side // 3] = True
    query_objects = batch.target.bool()
    in_query = replace(batch, source=replace(batch.source, support=batch.source.query))
    model = fresh_model(config)
    own = embeddings(model, batch)
    other = embeddings(model, replace(batch, prompts=prompts_of(others, config, "mask")))
    same = embeddings(model, replace(in_query, prompts=prompts_of(query_objects, config, "mask")))
    assert ((own * same).sum(1) > (own * other).sum(1) + 0.1).all()


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_model_beats_painting_everything(seed):
    batch = planted_batch(QUICK, seed, n_episodes=8)
    generator = torch.Generator().manual_seed(seed)
    model = LabelAnything.from_config(QUICK, generator, batch.source.support)
    with torch.no_grad():
        logits = model(batch)
    side = batch.target.shape[-1]
    painted = F.interpolate(logits, (side, side)).argmax(1).bool()
    target = batch.target.bool()
    iou = (painted & target).sum() / (painted | target).sum()
    assert iou > 1.5 * target.float().mean()  # which is what painting every cell scores


# ---- what the weights are


def test_the_start_depends_on_the_generator_alone():
    first, again, other = (fresh_model(QUICK, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["neck.0.weight"], other["neck.0.weight"])


@pytest.mark.parametrize("part", ["quiet", "neck", "mark", "read", "copy", "compare"])
def test_a_part_that_is_left_out_keeps_its_usual_weights(part):
    examples = {
        "quiet": "mask_decoder.transformer.layers.0.mlp.lin2.weight",
        "neck": "neck.0.weight",
        "mark": "prompt_encoder.no_sparse_embedding.weight",
        "read": "prompt_encoder.transformer.layers.1.cross_attn_token_to_image.q_proj.weight",
        "copy": "prompt_encoder.transformer.layers.1.cross_attn_image_to_token.v_proj.weight",
        "compare": "mask_decoder.output_upscaling.0.weight",
    }
    usual = fresh_model(replace(QUICK, start="usual")).state_dict()
    without = fresh_model(replace(QUICK, start_without=(part,))).state_dict()
    for name, weight in examples.items():
        assert torch.equal(usual[weight], without[weight]) == (name == part)


def test_main_directions_are_those_in_which_features_vary_most():
    g = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(4, 4, generator=g)).Q
    spread = torch.tensor([1.0, 8.0, 0.2, 3.0])
    cells = (torch.randn(5000, 4, generator=g) * spread) @ axes.T
    features = cells.view(50, 10, 10, 4).permute(0, 3, 1, 2)
    directions = main_directions(features)
    agreement = (directions @ axes).abs()
    assert agreement.argmax(1).tolist() == [1, 3, 0, 2]
    assert agreement.amax(1).min() > 0.99


@pytest.mark.parametrize("dim", CONFIGS)
def test_the_channels_are_shared_out(dim):
    config = CONFIGS[dim]
    position = fresh_model(config).prompt_encoder.pe_layer
    channels = Channels.of(config, position, torch.Generator().manual_seed(0))
    place = torch.cat([channels.frequencies, channels.frequencies + dim // 2]).flatten()
    vectors = torch.stack([channels.flag, channels.backdrop])
    assert len(channels.content) == dim // 2
    assert len(torch.cat([place, channels.content]).unique()) == len(place) + dim // 2
    assert not vectors[:, place].any() and not vectors[:, channels.content].any()
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(2))
    torch.testing.assert_close(vectors.mean(1), torch.zeros(2), atol=1e-6, rtol=0)


def test_features_choose_the_content():
    """Features that vary along one axis alone: the first channel of the content reads it."""
    g = torch.Generator().manual_seed(0)
    features = torch.zeros(4, QUICK.backbone_dim, 12, 12)
    features[:, 7] = torch.randn(4, 12, 12, generator=g)
    model = LabelAnything.from_config(QUICK, torch.Generator().manual_seed(0), features)
    channels = Channels.of(QUICK, model.prompt_encoder.pe_layer, g)
    weight = model.neck[0].weight[channels.content[0], :, 0, 0].abs()
    assert weight[7].item() == pytest.approx(1.0)


def test_a_backbone_as_wide_as_the_model_needs_no_neck():
    config = replace(QUICK, backbone_dim=QUICK.embed_dim)
    batch = planted_batch(config, 0, n_episodes=2)
    assert fresh_model(config)(batch).isfinite().all()


@pytest.mark.parametrize(
    "change",
    [
        {"background": "unprompted", "mode": "exact"},
        {"attention_downsample": 1},
        {"n_heads": 16},
        {"background": "unprompted", "token_pool": 0},
    ],
)
def test_an_architecture_without_a_start_is_refused(change):
    with pytest.raises(ValueError, match='choose start="usual"'):
        fresh_model(replace(QUICK, **change))


# ---- the published wiring


@torch.no_grad()
def test_a_paper_profile_paints_the_prompted_class_alone_before_training():
    config = replace(profile("paper-mae").model, start="agreeing")
    batch = planted_batch(config, 0, n_episodes=1)
    side = batch.target.shape[-1]
    painted = F.interpolate(fresh_model(config)(batch), (side, side)).argmax(1).bool()
    target = batch.target.bool()
    assert (painted & target).sum() / (painted | target).sum() > 0.9


def test_masked_cells_get_most_of_the_attention_in_the_published_wiring():
    share = attention_shares(fresh_model(PUBLISHED), planted_batch(PUBLISHED, 0, n_episodes=2))
    assert share.min() > 0.5


@torch.no_grad()
def test_a_first_self_attention_without_residual_passes_each_token_on():
    attention = fresh_model(PUBLISHED).mask_decoder.transformer.layers[0].self_attn
    tokens = F.layer_norm(torch.randn(2, 5, 96, generator=torch.manual_seed(0)), (96,))
    passed = attention(tokens, tokens, tokens)
    similarity = F.cosine_similarity(tokens[:, :, None], passed[:, None], dim=-1)  # (2, 5, 5)
    assert (similarity.argmax(2) == torch.arange(5)).all()
    assert similarity.diagonal(dim1=1, dim2=2).min() > 0.8


@torch.no_grad()
def test_plain_convolutions_pass_the_pixels_on():
    layers = fresh_model(PUBLISHED).mask_decoder.spatial_convs
    pixels = F.layer_norm(torch.randn(2, 8, 8, 12, generator=torch.manual_seed(0)), (12,))
    pixels = pixels.permute(0, 3, 1, 2)
    assert F.cosine_similarity(pixels, layers(pixels), dim=1).mean() > 0.8


@torch.no_grad()
def test_the_unprompted_background_is_unlike_every_class():
    config = replace(QUICK, background="unprompted")
    prototypes = fresh_model(config).support(planted_batch(config, 0, n_episodes=8)).prototypes
    classes = F.normalize(prototypes[:, 1], dim=-1)
    background = F.normalize(prototypes[:, 0], dim=-1)
    assert (background @ background.T).min() > 0.8
    assert (background @ classes.T).abs().max() < 0.5


# ---- what it is for


def test_two_masks_on_one_image_are_learned_as_two_answers():
    """With the usual start the model gives one answer for both masks, however long it trains."""
    torch.manual_seed(0)
    batch = planted_batch(QUICK, 0, n_episodes=1)
    side = batch.target.shape[-1]
    half = slice(side // 2, side // 2 + side // 3)
    others, target = torch.zeros_like(batch.objects), torch.zeros_like(batch.target)
    others[:, half, half] = True
    target[:, 1 : 1 + side // 3, half] = 1
    objects, targets = torch.cat([batch.objects, others]), torch.cat([batch.target, target])
    both = replace(
        batch,
        source=replace(
            batch.source,
            query=batch.source.query.expand(2, -1, -1, -1),
            support=batch.source.support.expand(2, -1, -1, -1),
        ),
        support_episode=torch.arange(2),
        prompts=prompts_of(objects, QUICK, "mask"),
        token_rows=torch.tensor([[0, 1]] * 2),
        class_valid=torch.ones(2, 2, dtype=torch.bool),
        query_size=batch.query_size.expand(2, -1),
    )
    model = fresh_model(QUICK).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        logits = F.interpolate(model(both), (side, side), mode="bilinear")
        F.cross_entropy(logits, targets).backward()
        optimizer.step()
    assert (logits.argmax(1) == targets).float().mean() > 0.97
