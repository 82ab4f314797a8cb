"""The settings of a bucket: `bucket setup` looks at them, plans and changes them.

Belongs here:

    wanted     a bucket as it should be · a bucket as it was found
    lifecycle  the rules that move, abort and expire; foreign ones stay
    policies   the bucket's own policy, and the least IAM policies for its users
    steps      the steps from one to the other; pure
    inspecting asks the server
    applying   carries the steps out

Not here: the objects in the bucket. All but the last two are plain data, and need no server for a test.
"""
