"""Why the hardware gives up a run."""

from amaranth.lib import enum


class ErrorCode(enum.Enum, shape=4):
    """The ERROR register's code."""

    NONE = 0         #: no error
    BAD_MAGIC = 1    #: a descriptor does not begin with the magic byte
    BAD_OPCODE = 2   #: a descriptor names no task
    BAD_FIELD = 3    #: a descriptor asks for what its unit cannot do
    AXI_READ = 4     #: a read was answered with an error
    AXI_WRITE = 5    #: a write was answered with an error
    BAD_WEIGHTS = 6  #: the weight stream holds no packet where one should begin
    WATCHDOG = 7     #: nothing moved for as long as the WATCHDOG register allows
