import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// One classic script with everything in it: `gr.HTML` loads it, users need no Node.
export default defineConfig({
  plugins: [react()],
  define: { "process.env.NODE_ENV": '"production"' },
  build: {
    outDir: "../static",
    emptyOutDir: false,
    target: "es2022",
    lib: { entry: "src/mount.jsx", name: "DonUI", formats: ["iife"], fileName: () => "don-ui.js" },
  },
});
