from bench.gpu.mig_tables import (
    MigInstance,
    MigPlacements,
    MigProfile,
    parse_mig_devices,
    parse_mig_instances,
    parse_mig_placements,
    parse_mig_profiles,
)


def test_profiles_of_a_wide_table_with_some_taken(excerpt):
    assert parse_mig_profiles(excerpt("lgip_a100_wide.txt")) == [
        MigProfile("1g.5gb", id=19, free=3, total=7, memory_gib=4.75, sm_count=14),
        MigProfile("1g.5gb+me", id=20, free=1, total=1, memory_gib=4.75, sm_count=14),
    ]


def test_profiles_of_a_narrow_table(excerpt):
    assert parse_mig_profiles(excerpt("lgip_h100_narrow.txt")) == [
        MigProfile("1g.10gb", id=19, free=7, total=7, memory_gib=9.75, sm_count=16),
        MigProfile("7g.80gb", id=0, free=1, total=1, memory_gib=79.25, sm_count=132),
    ]


def test_placements_in_plural_and_singular(excerpt):
    assert parse_mig_placements(excerpt("lgipp_h100.txt")) == {
        15: MigPlacements(15, (0, 2, 4, 6), 2),
        14: MigPlacements(14, (0, 2, 4), 2),
        9: MigPlacements(9, (0, 4), 4),
        5: MigPlacements(5, (0,), 4),
    }


def test_instances_of_wide_and_narrow_tables(excerpt):
    assert parse_mig_instances(excerpt("lgi_a100_wide.txt")) == [
        MigInstance("1g.5gb", profile_id=19, instance_id=9, start=6, size=1),
        MigInstance("2g.10gb", profile_id=14, instance_id=3, start=4, size=2),
    ]
    assert parse_mig_instances(excerpt("lgi_a100_narrow.txt")) == [
        MigInstance("1g.5gb", profile_id=19, instance_id=7, start=0, size=1),
        MigInstance("1g.5gb", profile_id=19, instance_id=13, start=6, size=1),
    ]


def test_devices_keep_their_parent_and_parts_of_instances_their_name(excerpt):
    devices = parse_mig_devices(excerpt("list_a100_mixed.txt"))
    assert [device.profile for device in devices] == ["4g.20gb", "1c.2g.10gb", "1c.2g.10gb", "1g.5gb"]
    assert {device.gpu_uuid for device in devices} == {"GPU-9e4aeb94-01c0-5173-4811-4ca60f77b3a9"}
    assert devices[3].uuid == "MIG-20301a31-77fa-59ec-b0b8-7ef543821f29"


def test_devices_in_the_old_spacing_and_the_old_uuid(excerpt):
    (device,) = parse_mig_devices(excerpt("list_a100_old.txt"))
    assert (device.profile, device.index) == ("3g.20gb", 0)
    old = "GPU 0: A100 (UUID: GPU-e86cb44c)\n  MIG 3g.20gb Device 0: (UUID: MIG-GPU-e86cb44c/1/0)\n"
    assert parse_mig_devices(old)[0].uuid == "MIG-GPU-e86cb44c/1/0"
