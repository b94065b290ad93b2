"""The commands of `flock`, a file each: its parser, and the function that runs it.

Every file is imported whenever `flock` starts, so that it imports lazily what only its own command needs: the worker
never loads Discord, the bot no torch.
"""
