"""The bucket itself, as opposed to what lies in it: what `bucket setup` looks at, plans and changes.

    wanted     what a bucket should be like · what it was found to be like
    lifecycle  the rules that move, abort and expire; foreign ones stay
    policies   the bucket's own policy, and the least IAM policies for those who use it
    plan       from what is and what should be to steps; pure
    inspecting asks the server
    applying   does what the plan says

Everything but the last two is plain data in, plain data out, and needs no server to be tested.
"""
