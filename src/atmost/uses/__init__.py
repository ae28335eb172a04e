"""What a service emits all day, each use knowing what to do about a gap; the uses do not know each other."""
