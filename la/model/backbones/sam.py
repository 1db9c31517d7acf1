"""SAM's ViT-B/16 without its neck: the features are the last block's output (paper 4.2).

Kirillov et al., "Segment Anything", 2023.
"""

from functools import partial

from torch import nn

from la.model.backbones.spec import BackboneSpec, PublishedFile, call


def build_sam(image_size: int) -> nn.Module:
    """The encoder for images of this side."""
    from segment_anything.modeling import ImageEncoderViT

    encoder: nn.Module = ImageEncoderViT(
        img_size=image_size,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(2, 5, 8, 11),
    )
    encoder.neck = nn.Identity()
    return encoder


SAM = BackboneSpec(
    name="sam_vit_b",
    dim=768,
    patch_size=16,
    build=build_sam,
    read=call,
    weights=PublishedFile(
        fetch_name="sam",
        file_name="sam_vit_b_01ec64.pth",
        url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        size=375_042_383,
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    images_at_once=4,  # an H200 encodes 35 images a second alone, 59 in fours, 61 in eights
    images_at_once_on_cpu=1,  # an image takes over 2 GB
    licence="Apache-2.0",
    prefix="image_encoder.",
    unused=("neck.",),
)
