// Writes what the accelerator reports of itself to files of fixed-size little-endian records (sim/bench/records.py).
module bench_trace #(
    parameter int L = 4,
    parameter int M = 4
) (
    input logic clk,
    input logic rst,
    input logic [63:0] cycle,
    input logic valid,
    input logic [15:0] tag,
    input logic [3:0] dst,
    input logic [15:0] px,
    input logic [11:0] cg,
    input logic [L-1:0] mask,
    input logic [3:0] split,
    input logic row_sum,
    input logic [L*M*16-1:0] words,
    input logic dispatch_valid,
    input logic [15:0] dispatch_tag,
    input logic [3:0] dispatch_unit,
    input logic [3:0] busy
);
    localparam int DISPATCH = 0, BUSY = 1;
    int writes, events;
    initial begin
        writes = $fopen("writes.bin", "wb");
        events = $fopen("events.bin", "wb");
    end

    logic [3:0] busy_before;
    always_ff @(posedge clk) begin
        busy_before <= rst ? 0 : busy;
        if (!rst) begin
            if (valid) $fwrite(writes, "%u", {words, 32'(mask), 15'd0, row_sum, 4'd0, split, 4'd0, dst, 4'd0, cg, px, 16'd0, tag, cycle});
            if (dispatch_valid) $fwrite(events, "%u", {32'(dispatch_unit), dispatch_tag, 16'(DISPATCH), cycle});
            if (busy != busy_before) $fwrite(events, "%u", {32'(busy), 16'd0, 16'(BUSY), cycle});
        end
    end

    final begin
        $fclose(writes);
        $fclose(events);
    end
endmodule
