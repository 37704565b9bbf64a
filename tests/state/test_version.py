import torch

from curtail_dist.state.version import Version


def make(tensors, number=3):
    return Version(number=number, tensors=tensors)


def test_the_hash_does_not_depend_on_the_order_of_names():
    a, b = torch.arange(4.0), torch.ones(2, 2)
    assert make({"a": a, "b": b}).hash == make({"b": b, "a": a}).hash


def test_the_hash_sees_bytes_names_types_and_shapes():
    base = torch.arange(4.0)
    versions = [
        {"a": base},
        {"b": base},
        {"a": base.view(2, 2)},
        {"a": base.view(torch.int32)},
        {"a": torch.nextafter(base, torch.tensor(9.0))},
    ]
    assert len({make(tensors).hash for tensors in versions}) == len(versions)


def test_a_strided_view_hashes_as_its_values():
    square = torch.arange(9.0).view(3, 3)
    assert make({"a": square.t()}).hash == make({"a": square.t().contiguous()}).hash


def test_two_versions_of_the_same_bytes_are_told_apart():
    tensors = {"parameter/w": torch.ones(3)}
    one, next_one = (Version(number=number, tensors=tensors) for number in (7, 8))
    assert one.hash != next_one.hash
    assert next_one.after(one).hash == next_one.hash
