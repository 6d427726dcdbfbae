// The AXI4-Lite master: one access for each toggle of `go`, so that Python sleeps while it runs.
// With stalls on, address and data of a write start in either order and responses are kept waiting.
module bench_host (
    input  logic clk,
    input  logic rst,

    input  logic go,
    input  logic write,
    input  logic [31:0] address,
    input  logic [31:0] data,
    output logic done,
    output logic [31:0] result,
    output logic [1:0] response,
    output logic expired,

    output logic [31:0] awaddr,
    output logic awvalid,
    input  logic awready,
    output logic [31:0] wdata,
    output logic wvalid,
    input  logic wready,
    input  logic [1:0] bresp,
    input  logic bvalid,
    output logic bready,
    output logic [31:0] araddr,
    output logic arvalid,
    input  logic arready,
    input  logic [31:0] rdata,
    input  logic [1:0] rresp,
    input  logic rvalid,
    output logic rready
);
    // Cycles after which a register access has failed.
    localparam int PATIENCE = 10000;

    int stall, seed, waited;
    initial begin
        stall = 0;
        seed = 1;
        void'($value$plusargs("stall=%d", stall));
        void'($value$plusargs("seed=%d", seed));
    end

    logic [31:0] random;
    logic busy, writing;
    logic [1:0] wait_address, wait_data;
    logic pending_address, pending_data;
    wire logic lazy = stall != 0 && random[7];
    assign bready = busy && writing && !lazy;
    assign rready = busy && !writing && !lazy;

    always_ff @(posedge clk) begin
        if (rst) begin
            random <= 32'h2545f491 ^ seed;
            busy <= 0;
            done <= go;
            expired <= 0;
            awvalid <= 0;
            wvalid <= 0;
            arvalid <= 0;
            pending_address <= 0;
            pending_data <= 0;
        end else begin
            random <= {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
            if (awready) awvalid <= 0;
            if (wready) wvalid <= 0;
            if (arready) arvalid <= 0;
            if (wait_address != 0) wait_address <= wait_address - 1;
            if (wait_data != 0) wait_data <= wait_data - 1;
            if (!busy) begin
                if (go != done) begin
                    busy <= 1;
                    writing <= write;
                    waited <= 0;
                    pending_address <= 1;
                    pending_data <= write;
                    wait_address <= stall != 0 ? random[1:0] : 0;
                    wait_data <= stall != 0 ? random[3:2] : 0;
                end
            end else begin
                waited <= waited + 1;
                if (pending_address && wait_address == 0) begin
                    pending_address <= 0;
                    awaddr <= address;
                    araddr <= address;
                    awvalid <= writing;
                    arvalid <= !writing;
                end
                if (pending_data && wait_data == 0) begin
                    pending_data <= 0;
                    wdata <= data;
                    wvalid <= 1;
                end
                if (bvalid && bready || rvalid && rready || waited == PATIENCE) begin
                    busy <= 0;
                    done <= go;
                    expired <= waited == PATIENCE;
                    result <= rdata;
                    response <= writing ? bresp : rresp;
                end
            end
        end
    end
endmodule
