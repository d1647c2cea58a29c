//! Many nodes as one; today a real cluster of one, behind the handle that more nodes will keep.
